// GgufFile: a bounded, read-only view of a GGUF file (v2 and v3).
//
// Source: the GGUF specification (ggml/docs/gguf.md). Every count, size,
// offset, alignment and string is checked against the file before it is used,
// so a hostile file ends in a Status and never in a bad read. Owns the mapping
// of the file; tensor data and strings are views into it.
//
// A model split into NAME-00001-of-0000N.gguf and so on is opened by its first
// part, which has the metadata; tensors are those of all parts.
#ifndef DAPPLE_GGUF_GGUF_FILE_H_
#define DAPPLE_GGUF_GGUF_FILE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "dapple/status.h"
#include "util/mmap_file.h"
#include "util/tensor_type.h"

namespace dapple {

// Value types of metadata; ids of the spec.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// One metadata value, still in the file's bytes (checked to lie inside it).
struct GgufValue {
  GgufType type = GgufType::kUint8;
  GgufType element_type = GgufType::kUint8;  // of an array; else == type
  uint64_t count = 1;                        // elements of an array; else 1
  // Payload, little-endian, unaligned. A string: its characters alone. An array
  // of strings: each a uint64 length and the characters.
  std::span<const std::byte> bytes;
};

struct GgufTensor {
  std::string_view name;
  TensorType type = TensorType::kF32;
  // dims[0] is the contiguous one (a row's length): a weight matrix that maps
  // k inputs to n outputs has dims {k, n}. Unused dims are 1.
  uint64_t dims[4] = {1, 1, 1, 1};
  uint32_t dim_count = 0;
  // [dims[3], dims[2], dims[1], dims[0]], aligned to the file's alignment (>=
  // 8)
  std::span<const std::byte> data;

  // Does not overflow: the reader checked the product.
  uint64_t elements() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
};

class GgufFile {
 public:
  // kCorrupt or kUnsupported with "<path>: <reason>" on anything wrong; the
  // path is that of the part to blame.
  static Result<GgufFile> Open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const MmapFile& file() const { return file_; }  // the first part
  // Parts after the first; empty for a model in one file.
  const std::vector<GgufFile>& parts() const { return parts_; }
  uint64_t total_bytes() const;  // of all parts
  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }
  // Bytes of the header, metadata and tensor table, before tensor data.
  uint64_t header_bytes() const { return header_bytes_; }

  // Keys in file order.
  const std::vector<std::pair<std::string_view, GgufValue>>& metadata() const {
    return metadata_;
  }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }

  const GgufValue* Find(std::string_view key) const;  // nullptr: absent
  const GgufTensor* FindTensor(std::string_view name) const;

  // Typed look-ups. nullopt: the key is absent. Any integer type is accepted
  // for integers where the value is not negative and fits; f32 and f64 for
  // floats. A key of a wrong type is reported as kCorrupt, naming file and key.
  Result<std::optional<uint64_t>> Uint(std::string_view key) const;
  Result<std::optional<double>> Float(std::string_view key) const;
  Result<std::optional<bool>> Bool(std::string_view key) const;
  Result<std::optional<std::string_view>> String(std::string_view key) const;
  // Arrays, copied out. Strings are views into the file.
  Result<std::optional<std::vector<std::string_view>>> Strings(
      std::string_view key) const;
  Result<std::optional<std::vector<float>>> Floats(std::string_view key) const;
  Result<std::optional<std::vector<int64_t>>> Ints(std::string_view key) const;

 private:
  friend class GgufParser;

  static Result<GgufFile> OpenOne(const std::string& path);
  Status OpenParts();
  Status AddPart(uint64_t number, uint64_t count, uint64_t tensors,
                 const std::string& path);

  Status WrongType(std::string_view key, const GgufValue& value,
                   std::string_view wanted) const;

  MmapFile file_;
  std::vector<GgufFile> parts_;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  uint64_t header_bytes_ = 0;
  std::vector<std::pair<std::string_view, GgufValue>> metadata_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> key_index_;
  std::unordered_map<std::string_view, size_t> tensor_index_;
};

}  // namespace dapple

#endif  // DAPPLE_GGUF_GGUF_FILE_H_
