#include "gguf/importance_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "gguf/gguf_file.h"
#include "gguf/printable.h"
#include "gguf/quantize.h"
#include "util/mmap_file.h"

namespace dapple {
namespace {

constexpr std::string_view kSums = ".in_sum2";
constexpr std::string_view kCounts = ".counts";
constexpr uint64_t kMaxName = 1024;
// Inputs of one matrix, all experts of a mixture together.
constexpr uint64_t kMaxValues = uint64_t{1} << 26;

// Bytes of the older format, front to back.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : rest_(bytes) {}

  std::span<const std::byte> rest() const { return rest_; }
  // A count from 1 (or 0) to most.
  bool Count(uint64_t least, uint64_t most, uint64_t* out) {
    int32_t value;
    if (!Copy(&value, sizeof(value)) || value < 0) return false;
    *out = static_cast<uint64_t>(value);
    return *out >= least && *out <= most;
  }
  bool Copy(void* out, size_t size) {
    if (rest_.size() < size) return false;
    std::memcpy(out, rest_.data(), size);
    rest_ = rest_.subspan(size);
    return true;
  }

 private:
  std::span<const std::byte> rest_;
};

}  // namespace

Result<ImportanceMatrix> ImportanceMatrix::Read(const std::string& path) {
  ImportanceMatrix matrix;
  DAPPLE_ASSIGN_OR_RETURN(const MmapFile file, MmapFile::Open(path));
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0)
    DAPPLE_RETURN_IF_ERROR(matrix.ReadGguf(path));
  else
    DAPPLE_RETURN_IF_ERROR(matrix.ReadOld(path, bytes));
  if (matrix.values_.empty()) return Corrupt(path + ": holds no importances");
  return matrix;
}

Status ImportanceMatrix::Add(const std::string& path, std::string name,
                             std::vector<float> values) {
  for (const float value : values)
    if (!std::isfinite(value) || value < 0.0f)
      return Corrupt(path + ": an importance of " + Quoted(name) +
                     " is negative or not finite");
  if (!values_.emplace(name, std::move(values)).second)
    return Corrupt(path + ": " + Quoted(name) + " occurs twice");
  return Status::Ok();
}

Status ImportanceMatrix::ReadOld(const std::string& path,
                                 std::span<const std::byte> bytes) {
  Cursor cursor(bytes);
  uint64_t entries;
  // An entry has at least a name of one byte and one value.
  if (!cursor.Count(1, bytes.size() / 17, &entries))
    return Corrupt(path + ": not an importance matrix");
  for (uint64_t entry = 0; entry < entries; ++entry) {
    const std::string where = "entry " + std::to_string(entry);
    uint64_t length, calls, count;
    if (!cursor.Count(1, kMaxName, &length) || length > cursor.rest().size())
      return Corrupt(path + ": not an importance matrix (" + where + ")");
    std::string name(length, '\0');
    if (!cursor.Copy(name.data(), length) ||
        !cursor.Count(0, INT32_MAX, &calls) ||
        !cursor.Count(1, kMaxValues, &count) ||
        count > cursor.rest().size() / sizeof(float))
      return Corrupt(path + ": the file ends inside " + where);
    std::vector<float> values(count);
    if (!cursor.Copy(values.data(), count * sizeof(float)))
      return Corrupt(path + ": the file ends inside " + where);
    DAPPLE_RETURN_IF_ERROR(Add(path, std::move(name), std::move(values)));
  }
  return Status::Ok();  // what follows names the text it was made from
}

Status ImportanceMatrix::ReadGguf(const std::string& path) {
  DAPPLE_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  for (const GgufTensor& tensor : file.tensors()) {
    if (!tensor.name.ends_with(kSums) || tensor.name.size() == kSums.size())
      continue;
    const std::string name(
        tensor.name.substr(0, tensor.name.size() - kSums.size()));
    const GgufTensor* counts = file.FindTensor(name + std::string(kCounts));
    if (tensor.type != TensorType::kF32 || tensor.elements() > kMaxValues ||
        counts == nullptr || counts->type != TensorType::kF32 ||
        tensor.elements() % counts->elements() != 0)
      return Corrupt(path + ": importances of " + Quoted(name) +
                     " are misshapen");
    std::vector<float> values(tensor.elements());
    std::vector<float> calls(counts->elements());
    DecodeRow(TensorType::kF32, tensor.data, values);
    DecodeRow(TensorType::kF32, counts->data, calls);
    const size_t each = values.size() / calls.size();
    for (size_t i = 0; i < values.size(); ++i)
      // Experts that were never called: all inputs count the same.
      values[i] = calls[i / each] > 0.0f ? values[i] / calls[i / each] : 1.0f;
    DAPPLE_RETURN_IF_ERROR(Add(path, name, std::move(values)));
  }
  return Status::Ok();
}

std::span<const float> ImportanceMatrix::Find(std::string_view tensor) const {
  const auto at = values_.find(tensor);
  return at == values_.end() ? std::span<const float>() : at->second;
}

}  // namespace dapple
