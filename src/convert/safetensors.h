// Safetensors: the tensor files of a Hugging Face model folder.
//
// Format: uint64 header length, JSON header (name → dtype, shape, byte range),
// data. Everything is checked against the file before use: lengths, shape ×
// element size == range, ranges inside the file and disjoint, names unique
// also across shards. A SafetensorsFile owns its mapping; a Checkpoint owns
// its files; tensors are views into them.
#ifndef DAPPLE_CONVERT_SAFETENSORS_H_
#define DAPPLE_CONVERT_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/status.h"
#include "util/mmap_file.h"

namespace dapple {

struct SafeTensor {
  std::string name;
  std::string dtype;            // "BF16"
  std::vector<uint64_t> shape;  // row-major; the last is the contiguous one
  std::span<const std::byte> data;
};

class SafetensorsFile {
 public:
  static Result<SafetensorsFile> Open(const std::string& path);

  const MmapFile& file() const { return file_; }
  const std::vector<SafeTensor>& tensors() const { return tensors_; }

 private:
  MmapFile file_;
  std::vector<SafeTensor> tensors_;  // by offset
};

// All tensors of a folder: model.safetensors, or the shards that
// model.safetensors.index.json names.
class Checkpoint {
 public:
  struct Entry {
    const MmapFile* file;
    const SafeTensor* tensor;
  };

  static Result<Checkpoint> Open(const std::string& folder);

  // nullptr: absent.
  const Entry* Find(std::string_view name) const;
  const std::map<std::string, Entry, std::less<>>& entries() const {
    return entries_;
  }

 private:
  Status OpenShards(const std::string& folder, const std::string& index_path);
  Status Add(const SafetensorsFile& file);

  // Never grows after entries_ point into it.
  std::vector<SafetensorsFile> files_;
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace dapple

#endif  // DAPPLE_CONVERT_SAFETENSORS_H_
