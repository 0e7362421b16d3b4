#include "gguf/gguf_parser.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "gguf/printable.h"
#include "gguf/quantize.h"
#include "util/checked.h"

namespace dapple {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
// Least bytes of a key (length, one character, type, one byte of value) and of
// a tensor entry (length, one character, dim count, a dim, type, offset):
// bounds the counts before anything is allocated for them.
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;
// The kernels read rows of floats in place, so tensor data must be aligned.
constexpr uint64_t kMinAlignment = 8;

struct TypeInfo {
  std::string_view name;
  size_t size;
};
constexpr TypeInfo kTypes[] = {
    {"uint8", 1},  {"int8", 1},    {"uint16", 2},  {"int16", 2},  {"uint32", 4},
    {"int32", 4},  {"float32", 4}, {"bool", 1},    {"string", 0}, {"array", 0},
    {"uint64", 8}, {"int64", 8},   {"float64", 8},
};
constexpr uint32_t kTypeCount = sizeof(kTypes) / sizeof(kTypes[0]);

// Names of GGUF's tensor types that Dapple does not compute with, for the
// message alone. Ids of the spec; gaps were removed from the format.
struct ForeignType {
  uint32_t id;
  std::string_view name;
};
constexpr ForeignType kForeignTypes[] = {
    {9, "q8_1"},     {15, "q8_k"},  {16, "iq2_xxs"}, {17, "iq2_xs"},
    {18, "iq3_xxs"}, {19, "iq1_s"}, {21, "iq3_s"},   {22, "iq2_s"},
    {24, "i8"},      {25, "i16"},   {26, "i32"},     {27, "i64"},
    {28, "f64"},     {29, "iq1_m"}, {34, "tq1_0"},   {35, "tq2_0"},
};

std::string NameOfForeignType(uint32_t id) {
  for (const ForeignType& type : kForeignTypes)
    if (type.id == id)
      return std::to_string(id) + " (" + std::string(type.name) + ")";
  return std::to_string(id);
}

// Keys and tensor names are printed in messages and tables; the spec wants
// ASCII. This also keeps escape sequences out of terminals.
bool IsPrintableAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return c >= 0x20 && c < 0x7F; });
}

}  // namespace

std::string_view GgufTypeName(GgufType type) {
  const uint32_t id = static_cast<uint32_t>(type);
  return id < kTypeCount ? kTypes[id].name : "unknown";
}

size_t GgufTypeSize(GgufType type) {
  const uint32_t id = static_cast<uint32_t>(type);
  return id < kTypeCount ? kTypes[id].size : 0;
}

bool IsGgufInteger(GgufType type) {
  return GgufTypeSize(type) != 0 && type != GgufType::kFloat32 &&
         type != GgufType::kFloat64 && type != GgufType::kBool;
}

Status GgufParser::Bad(const std::string& reason) const {
  return Corrupt(file_.path() + ": " + reason);
}

Status GgufParser::CutShort(const std::string& where) const {
  return Bad("the file ends inside " + where);
}

template <class T>
bool GgufParser::Read(T* value) {
  if (remaining() < sizeof(T)) return false;
  std::memcpy(value, bytes_.data() + at_, sizeof(T));
  at_ += sizeof(T);
  return true;
}

bool GgufParser::ReadString(std::string_view* text) {
  uint64_t length;
  if (!Read(&length) || length > remaining()) return false;
  *text = std::string_view(reinterpret_cast<const char*>(bytes_.data() + at_),
                           length);
  at_ += length;
  return true;
}

Status GgufParser::Parse() {
  uint64_t tensor_count = 0;
  uint64_t key_count = 0;
  DAPPLE_RETURN_IF_ERROR(ParseHeader(&tensor_count, &key_count));

  file_.metadata_.reserve(key_count);
  file_.key_index_.reserve(key_count);
  for (uint64_t i = 0; i < key_count; ++i) DAPPLE_RETURN_IF_ERROR(ParseKey(i));
  DAPPLE_RETURN_IF_ERROR(ParseAlignment());

  // The keys have used up bytes since the header's check.
  if (tensor_count > remaining() / kMinTensorBytes)
    return Bad("the tensor table (" + std::to_string(tensor_count) +
               " tensors) does not fit the file");
  file_.tensors_.reserve(tensor_count);
  file_.tensor_index_.reserve(tensor_count);
  std::vector<Extent> extents(tensor_count);
  for (uint64_t i = 0; i < tensor_count; ++i)
    DAPPLE_RETURN_IF_ERROR(ParseTensor(i, &extents[i]));
  file_.header_bytes_ = at_;
  return PlaceTensors(extents);
}

Status GgufParser::ParseHeader(uint64_t* tensor_count, uint64_t* key_count) {
  uint32_t magic;
  uint32_t version;
  if (!Read(&magic) || magic != kMagic) return Bad("not a GGUF file");
  if (!Read(&version)) return CutShort("the header");
  // A big-endian file's version has its low half zero.
  if (version != 0 && (version & 0xFFFF) == 0)
    return Unsupported(file_.path() + ": big-endian GGUF is not supported");
  if (version != 2 && version != 3)
    return Unsupported(file_.path() + ": GGUF version " +
                       std::to_string(version) +
                       " is not supported (2 and 3 are)");
  file_.version_ = version;
  if (!Read(tensor_count) || !Read(key_count)) return CutShort("the header");
  if (*key_count > remaining() / kMinKeyBytes)
    return Bad("the header counts " + std::to_string(*key_count) +
               " metadata keys, more than the file can hold");
  if (*tensor_count > remaining() / kMinTensorBytes)
    return Bad("the header counts " + std::to_string(*tensor_count) +
               " tensors, more than the file can hold");
  return Status::Ok();
}

Status GgufParser::ParseKey(uint64_t index) {
  std::string_view key;
  uint32_t type;
  const std::string where = "metadata key " + std::to_string(index);
  if (!ReadString(&key)) return CutShort(where);
  if (key.empty() || key.size() > UINT16_MAX || !IsPrintableAscii(key))
    return Bad(where + " has a name that is empty, overlong or not ASCII");
  if (!Read(&type)) return CutShort("key " + Quoted(key));
  if (type >= kTypeCount)
    return Bad("key " + Quoted(key) + " has unknown type " +
               std::to_string(type));
  GgufValue value;
  value.type = static_cast<GgufType>(type);
  DAPPLE_RETURN_IF_ERROR(ParseValue(key, &value));
  if (!file_.key_index_.emplace(key, file_.metadata_.size()).second)
    return Bad("key " + Quoted(key) + " occurs twice");
  file_.metadata_.emplace_back(key, value);
  return Status::Ok();
}

Status GgufParser::ParseValue(std::string_view key, GgufValue* value) {
  value->element_type = value->type;
  if (value->type == GgufType::kArray) return ParseArray(key, value);
  if (value->type == GgufType::kString) {
    std::string_view text;
    if (!ReadString(&text)) return CutShort("key " + Quoted(key));
    value->bytes = std::as_bytes(std::span(text.data(), text.size()));
    return Status::Ok();
  }
  const size_t size = GgufTypeSize(value->type);
  if (remaining() < size) return CutShort("key " + Quoted(key));
  value->bytes = bytes_.subspan(at_, size);
  at_ += size;
  if (value->type == GgufType::kBool &&
      std::to_integer<uint8_t>(value->bytes[0]) > 1)
    return Bad("key " + Quoted(key) + " is a bool that is neither 0 nor 1");
  return Status::Ok();
}

Status GgufParser::ParseArray(std::string_view key, GgufValue* value) {
  uint32_t type;
  if (!Read(&type) || !Read(&value->count))
    return CutShort("key " + Quoted(key));
  if (type >= kTypeCount)
    return Bad("key " + Quoted(key) + " is an array of unknown type " +
               std::to_string(type));
  value->element_type = static_cast<GgufType>(type);
  if (value->element_type == GgufType::kArray)
    return Unsupported(file_.path() + ": key " + Quoted(key) +
                       " is an array of arrays, which is not supported");
  const uint64_t begin = at_;
  if (value->element_type == GgufType::kString) {
    if (value->count > remaining() / 8)
      return Bad("key " + Quoted(key) + " counts " +
                 std::to_string(value->count) +
                 " strings, more than the file can hold");
    std::string_view text;
    for (uint64_t i = 0; i < value->count; ++i)
      if (!ReadString(&text))
        return CutShort("key " + Quoted(key) + ", string " + std::to_string(i));
  } else {
    uint64_t size;
    if (!CheckedMul(value->count, GgufTypeSize(value->element_type), &size) ||
        size > remaining())
      return Bad("key " + Quoted(key) + " counts " +
                 std::to_string(value->count) +
                 " elements, more than the file can hold");
    at_ += size;
  }
  value->bytes = bytes_.subspan(begin, at_ - begin);
  if (value->element_type == GgufType::kBool)
    for (const std::byte element : value->bytes)
      if (std::to_integer<uint8_t>(element) > 1)
        return Bad("key " + Quoted(key) +
                   " has a bool that is neither 0 nor 1");
  return Status::Ok();
}

Status GgufParser::ParseAlignment() {
  DAPPLE_ASSIGN_OR_RETURN(const std::optional<uint64_t> alignment,
                          file_.Uint("general.alignment"));
  if (!alignment.has_value()) return Status::Ok();  // 32, says the spec
  if (*alignment < kMinAlignment || *alignment > UINT32_MAX ||
      !std::has_single_bit(*alignment))
    return Bad("general.alignment is " + std::to_string(*alignment) +
               ", not a power of two from 8");
  file_.alignment_ = *alignment;
  return Status::Ok();
}

Status GgufParser::ParseTensor(uint64_t index, Extent* extent) {
  GgufTensor tensor;
  const std::string where = "tensor " + std::to_string(index);
  if (!ReadString(&tensor.name)) return CutShort(where);
  if (tensor.name.empty() || tensor.name.size() > UINT16_MAX ||
      !IsPrintableAscii(tensor.name))
    return Bad(where + " has a name that is empty, overlong or not ASCII");
  const std::string name = "tensor " + Quoted(tensor.name);
  if (!Read(&tensor.dim_count)) return CutShort(name);
  if (tensor.dim_count < 1 || tensor.dim_count > 4)
    return Bad(name + " has " + std::to_string(tensor.dim_count) +
               " dimensions (1 to 4 are possible)");
  uint64_t elements = 1;
  for (uint32_t i = 0; i < tensor.dim_count; ++i) {
    if (!Read(&tensor.dims[i])) return CutShort(name);
    if (tensor.dims[i] == 0) return Bad(name + " has a dimension of 0");
    if (!CheckedMul(elements, tensor.dims[i], &elements))
      return Bad(name + " has more elements than 64 bits count");
  }
  uint32_t type;
  if (!Read(&type) || !Read(&extent->offset)) return CutShort(name);
  const TensorTypeInfo* info = FindTensorType(type);
  if (info == nullptr)
    return Unsupported(file_.path() + ": " + name + " has type " +
                       NameOfForeignType(type) + ", which is not supported (" +
                       TensorTypeNames() + " are)");
  tensor.type = info->type;
  if (tensor.dims[0] % info->block_elements != 0)
    return Bad(name + " has rows of " + std::to_string(tensor.dims[0]) +
               ", not a multiple of " + std::string(info->name) +
               "'s blocks of " + std::to_string(info->block_elements));
  if (!CheckedMul(elements / info->block_elements, info->block_bytes,
                  &extent->size))
    return Bad(name + " has more bytes than 64 bits count");
  if (!file_.tensor_index_.emplace(tensor.name, file_.tensors_.size()).second)
    return Bad(name + " occurs twice");
  file_.tensors_.push_back(tensor);
  return Status::Ok();
}

Status GgufParser::PlaceTensors(const std::vector<Extent>& extents) {
  if (extents.empty()) return Status::Ok();  // a vocabulary alone
  uint64_t begin;
  if (!CheckedAlignUp(at_, file_.alignment_, &begin) || begin > bytes_.size())
    return CutShort("the padding before the tensor data");
  const std::span<const std::byte> data = bytes_.subspan(begin);
  for (size_t i = 0; i < extents.size(); ++i) {
    const Extent& extent = extents[i];
    GgufTensor& tensor = file_.tensors_[i];
    const std::string name = "tensor " + Quoted(tensor.name);
    if (extent.offset % file_.alignment_ != 0)
      return Bad(name + " begins at offset " + std::to_string(extent.offset) +
                 ", not a multiple of the alignment " +
                 std::to_string(file_.alignment_));
    if (extent.offset > data.size() ||
        extent.size > data.size() - extent.offset)
      return Bad(name + " (" + std::to_string(extent.size) +
                 " bytes at offset " + std::to_string(extent.offset) +
                 ") lies beyond the end of the file");
    tensor.data = data.subspan(extent.offset, extent.size);
  }
  std::vector<size_t> order(extents.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return extents[a].offset < extents[b].offset;
  });
  for (size_t i = 1; i < order.size(); ++i) {
    const Extent& before = extents[order[i - 1]];
    if (before.offset + before.size > extents[order[i]].offset)
      return Bad("tensors " + Quoted(file_.tensors_[order[i - 1]].name) +
                 " and " + Quoted(file_.tensors_[order[i]].name) + " overlap");
  }
  return Status::Ok();
}

}  // namespace dapple
