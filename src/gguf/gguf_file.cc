#include "gguf/gguf_file.h"

#include <bit>
#include <cstring>
#include <utility>

#include "gguf/gguf_parser.h"
#include "gguf/printable.h"

namespace dapple {
namespace {

// An integer of any type of the spec, as sign and magnitude fit for checks.
struct AnyInt {
  bool is_integer = false;
  bool negative = false;
  uint64_t bits = 0;  // two's complement when negative
};

template <class T>
T Load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

template <class T>
AnyInt SignedInt(const std::byte* at) {
  const int64_t value = Load<T>(at);
  return {true, value < 0, static_cast<uint64_t>(value)};
}

AnyInt LoadInt(GgufType type, const std::byte* at) {
  switch (type) {
    case GgufType::kUint8:
      return {true, false, Load<uint8_t>(at)};
    case GgufType::kUint16:
      return {true, false, Load<uint16_t>(at)};
    case GgufType::kUint32:
      return {true, false, Load<uint32_t>(at)};
    case GgufType::kUint64:
      return {true, false, Load<uint64_t>(at)};
    case GgufType::kInt8:
      return SignedInt<int8_t>(at);
    case GgufType::kInt16:
      return SignedInt<int16_t>(at);
    case GgufType::kInt32:
      return SignedInt<int32_t>(at);
    case GgufType::kInt64:
      return SignedInt<int64_t>(at);
    default:
      return {};
  }
}

}  // namespace

static_assert(std::endian::native == std::endian::little,
              "GGUF is read in place: a big-endian host needs byte swaps");

Result<GgufFile> GgufFile::Open(const std::string& path) {
  DAPPLE_ASSIGN_OR_RETURN(GgufFile file, OpenOne(path));
  DAPPLE_RETURN_IF_ERROR(file.OpenParts());
  return file;
}

Result<GgufFile> GgufFile::OpenOne(const std::string& path) {
  DAPPLE_ASSIGN_OR_RETURN(MmapFile mapped, MmapFile::Open(path));
  GgufFile file;
  file.file_ = std::move(mapped);
  DAPPLE_RETURN_IF_ERROR(GgufParser(&file).Parse());
  return file;
}

const GgufValue* GgufFile::Find(std::string_view key) const {
  const auto found = key_index_.find(key);
  return found == key_index_.end() ? nullptr : &metadata_[found->second].second;
}

const GgufTensor* GgufFile::FindTensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

Status GgufFile::WrongType(std::string_view key, const GgufValue& value,
                           std::string_view wanted) const {
  std::string is(GgufTypeName(value.type));
  if (value.type == GgufType::kArray)
    is += " of " + std::string(GgufTypeName(value.element_type));
  return Corrupt(path() + ": key " + Quoted(key) + " is of type " + is +
                 ", not " + std::string(wanted));
}

Result<std::optional<uint64_t>> GgufFile::Uint(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<uint64_t>();
  const AnyInt integer = LoadInt(value->type, value->bytes.data());
  if (!integer.is_integer) return WrongType(key, *value, "an integer");
  if (integer.negative)
    return Corrupt(path() + ": key " + Quoted(key) + " is negative");
  return std::optional<uint64_t>(integer.bits);
}

Result<std::optional<double>> GgufFile::Float(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<double>();
  if (value->type == GgufType::kFloat32)
    return std::optional<double>(Load<float>(value->bytes.data()));
  if (value->type == GgufType::kFloat64)
    return std::optional<double>(Load<double>(value->bytes.data()));
  return WrongType(key, *value, "a float");
}

Result<std::optional<bool>> GgufFile::Bool(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<bool>();
  if (value->type != GgufType::kBool) return WrongType(key, *value, "a bool");
  return std::optional<bool>(Load<uint8_t>(value->bytes.data()) != 0);
}

Result<std::optional<std::string_view>> GgufFile::String(
    std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<std::string_view>();
  if (value->type != GgufType::kString)
    return WrongType(key, *value, "a string");
  return std::optional<std::string_view>(std::string_view(
      reinterpret_cast<const char*>(value->bytes.data()), value->bytes.size()));
}

Result<std::optional<std::vector<std::string_view>>> GgufFile::Strings(
    std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<std::vector<std::string_view>>();
  if (value->type != GgufType::kArray ||
      value->element_type != GgufType::kString)
    return WrongType(key, *value, "an array of strings");
  // The parser walked these lengths already: they lie inside `bytes`.
  std::vector<std::string_view> strings;
  strings.reserve(value->count);
  const std::byte* at = value->bytes.data();
  for (uint64_t i = 0; i < value->count; ++i) {
    const uint64_t length = Load<uint64_t>(at);
    strings.emplace_back(reinterpret_cast<const char*>(at + 8), length);
    at += 8 + length;
  }
  return std::optional<std::vector<std::string_view>>(std::move(strings));
}

Result<std::optional<std::vector<float>>> GgufFile::Floats(
    std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<std::vector<float>>();
  if (value->type != GgufType::kArray ||
      (value->element_type != GgufType::kFloat32 &&
       value->element_type != GgufType::kFloat64))
    return WrongType(key, *value, "an array of floats");
  std::vector<float> floats(value->count);
  const std::byte* at = value->bytes.data();
  for (size_t i = 0; i < floats.size(); ++i)
    floats[i] = value->element_type == GgufType::kFloat32
                    ? Load<float>(at + 4 * i)
                    : static_cast<float>(Load<double>(at + 8 * i));
  return std::optional<std::vector<float>>(std::move(floats));
}

Result<std::optional<std::vector<int64_t>>> GgufFile::Ints(
    std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<std::vector<int64_t>>();
  if (value->type != GgufType::kArray || !IsGgufInteger(value->element_type))
    return WrongType(key, *value, "an array of integers");
  const size_t size = GgufTypeSize(value->element_type);
  std::vector<int64_t> ints;
  ints.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const AnyInt integer =
        LoadInt(value->element_type, value->bytes.data() + i * size);
    if (!integer.negative && integer.bits > INT64_MAX)
      return Corrupt(path() + ": key " + Quoted(key) +
                     " has an integer beyond 63 bits");
    ints.push_back(static_cast<int64_t>(integer.bits));
  }
  return std::optional<std::vector<int64_t>>(std::move(ints));
}

}  // namespace dapple
