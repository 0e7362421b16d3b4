#include "gguf/gguf_writer.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "util/checked.h"

namespace dapple {

Result<GgufWriter> GgufWriter::Create(const std::string& path) {
  GgufWriter writer;
  DAPPLE_ASSIGN_OR_RETURN(writer.file_, AtomicFile::Create(path));
  return writer;
}

template <class T>
void GgufWriter::Put(std::string* out, T value) {
  static_assert(std::endian::native == std::endian::little);
  out->append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void GgufWriter::PutString(std::string* out, std::string_view text) {
  Put<uint64_t>(out, text.size());
  out->append(text);
}

void GgufWriter::PutKey(std::string_view key, GgufType type) {
  if (!keys_seen_.emplace(key).second && mistake_.empty())
    mistake_ = "key '" + std::string(key) + "' written twice";
  PutString(&keys_, key);
  Put(&keys_, static_cast<uint32_t>(type));
  ++key_count_;
}

void GgufWriter::PutArray(std::string_view key, GgufType type, uint64_t count) {
  PutKey(key, GgufType::kArray);
  Put(&keys_, static_cast<uint32_t>(type));
  Put(&keys_, count);
}

void GgufWriter::AddUint32(std::string_view key, uint32_t value) {
  PutKey(key, GgufType::kUint32);
  Put(&keys_, value);
}

void GgufWriter::AddFloat32(std::string_view key, float value) {
  PutKey(key, GgufType::kFloat32);
  Put(&keys_, value);
}

void GgufWriter::AddBool(std::string_view key, bool value) {
  PutKey(key, GgufType::kBool);
  Put<uint8_t>(&keys_, value ? 1 : 0);
}

void GgufWriter::AddString(std::string_view key, std::string_view value) {
  PutKey(key, GgufType::kString);
  PutString(&keys_, value);
}

void GgufWriter::AddStrings(std::string_view key,
                            std::span<const std::string> values) {
  PutArray(key, GgufType::kString, values.size());
  for (const std::string& value : values) PutString(&keys_, value);
}

void GgufWriter::AddFloats(std::string_view key,
                           std::span<const float> values) {
  PutArray(key, GgufType::kFloat32, values.size());
  for (const float value : values) Put(&keys_, value);
}

void GgufWriter::AddInts(std::string_view key,
                         std::span<const int32_t> values) {
  PutArray(key, GgufType::kInt32, values.size());
  for (const int32_t value : values) Put(&keys_, value);
}

void GgufWriter::AddValue(std::string_view key, const GgufValue& value) {
  if (value.type == GgufType::kArray) {
    PutArray(key, value.element_type, value.count);
  } else {
    PutKey(key, value.type);
    if (value.type == GgufType::kString)
      Put<uint64_t>(&keys_, value.bytes.size());
  }
  keys_.append(reinterpret_cast<const char*>(value.bytes.data()),
               value.bytes.size());
}

void GgufWriter::AddTensor(std::string_view name, TensorType type,
                           std::span<const uint64_t> dims) {
  const TensorTypeInfo& info = InfoOf(type);
  uint64_t size = info.block_bytes;
  bool good = !name.empty() && !dims.empty() && dims.size() <= 4 &&
              dims[0] % info.block_elements == 0;
  for (size_t i = 0; good && i < dims.size(); ++i)
    good = dims[i] != 0 &&
           CheckedMul(size, i == 0 ? dims[0] / info.block_elements : dims[i],
                      &size);
  if (!tensors_seen_.emplace(name).second) good = false;
  if (!good && mistake_.empty())
    mistake_ = "tensor '" + std::string(name) + "' twice or misshapen";
  tensors_.push_back(
      {std::string(name), type, {dims.begin(), dims.end()}, size});
}

Status GgufWriter::BeginData() {
  if (data_begun_ && mistake_.empty()) mistake_ = "data begun twice";
  data_begun_ = true;
  std::string head("GGUF");
  Put<uint32_t>(&head, 3);
  Put<uint64_t>(&head, tensors_.size());
  Put<uint64_t>(&head, key_count_);
  head += keys_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    PutString(&head, tensor.name);
    Put(&head, static_cast<uint32_t>(tensor.dims.size()));
    for (const uint64_t dim : tensor.dims) Put(&head, dim);
    Put(&head, static_cast<uint32_t>(tensor.type));
    Put(&head, offset);
    if (!CheckedAdd(offset, tensor.size, &offset) ||
        !CheckedAlignUp(offset, kAlignment, &offset))
      mistake_ = "tensor data beyond 64 bits";
  }
  if (!mistake_.empty()) return Internal(file_.path() + ": " + mistake_);
  DAPPLE_RETURN_IF_ERROR(file_.Write(std::as_bytes(std::span(head))));
  keys_.clear();
  keys_.shrink_to_fit();
  return Pad();
}

Status GgufWriter::Pad() {
  static constexpr std::byte kZeros[kAlignment] = {};
  const uint64_t padding = AlignUp(file_.size(), kAlignment) - file_.size();
  return file_.Write(std::span(kZeros).first(padding));
}

Status GgufWriter::Append(std::span<const std::byte> bytes) {
  if (!data_begun_) return Internal(file_.path() + ": data before BeginData");
  while (!bytes.empty()) {
    if (tensor_ == tensors_.size())
      return Internal(file_.path() + ": more data than tensors");
    const Tensor& tensor = tensors_[tensor_];
    const size_t part = static_cast<size_t>(
        std::min<uint64_t>(bytes.size(), tensor.size - written_));
    DAPPLE_RETURN_IF_ERROR(file_.Write(bytes.first(part)));
    bytes = bytes.subspan(part);
    written_ += part;
    if (written_ == tensor.size) {
      DAPPLE_RETURN_IF_ERROR(Pad());
      ++tensor_;
      written_ = 0;
    }
  }
  return Status::Ok();
}

Status GgufWriter::Finish() {
  if (!data_begun_ || tensor_ != tensors_.size())
    return Internal(file_.path() + ": finished before all tensor data");
  return file_.Commit();
}

}  // namespace dapple
