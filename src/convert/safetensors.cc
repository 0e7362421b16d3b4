#include "convert/safetensors.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <set>
#include <utility>

#include "convert/json_file.h"
#include "gguf/printable.h"
#include "util/checked.h"

namespace dapple {
namespace {

using nlohmann::json;

// The format's own limit.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

struct Dtype {
  std::string_view name;
  uint64_t bytes;
};
constexpr Dtype kDtypes[] = {
    {"F64", 8}, {"F32", 4}, {"F16", 2},  {"BF16", 2},    {"I64", 8},
    {"I32", 4}, {"I16", 2}, {"I8", 1},   {"U64", 8},     {"U32", 4},
    {"U16", 2}, {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1},
};

uint64_t DtypeBytes(std::string_view name) {
  for (const Dtype& dtype : kDtypes)
    if (dtype.name == name) return dtype.bytes;
  return 0;
}

// A list of non-negative integers; false for anything else.
bool ReadUints(const json* value, std::vector<uint64_t>* out) {
  if (value == nullptr || !value->is_array()) return false;
  for (const json& element : *value) {
    if (!element.is_number_unsigned()) return false;
    out->push_back(*element.get_ptr<const uint64_t*>());
  }
  return true;
}

// Reads one entry of the header; `data` is everything after the header.
Status ParseTensor(const std::string& path, const std::string& name,
                   const json& entry, std::span<const std::byte> data,
                   SafeTensor* tensor) {
  const std::string where = path + ": tensor " + Quoted(name);
  if (!entry.is_object()) return Corrupt(where + " is not described");
  const JsonFields fields(entry, where);
  DAPPLE_ASSIGN_OR_RETURN(const std::optional<std::string> dtype,
                          fields.String("dtype"));
  std::vector<uint64_t> range;
  if (!dtype.has_value() || !ReadUints(fields.Find("shape"), &tensor->shape) ||
      !ReadUints(fields.Find("data_offsets"), &range) || range.size() != 2)
    return Corrupt(where + " lacks a dtype, shape or data_offsets");
  tensor->name = name;
  tensor->dtype = *dtype;
  uint64_t size = DtypeBytes(*dtype);
  if (size == 0)
    return Unsupported(where + " has unknown dtype " + Quoted(*dtype));
  for (const uint64_t dim : tensor->shape)
    if (!CheckedMul(size, dim, &size))
      return Corrupt(where + " has a shape beyond 64 bits");
  const auto [begin, end] = std::pair(range[0], range[1]);
  if (begin > end || end > data.size())
    return Corrupt(where + " lies beyond the end of the file");
  if (end - begin != size)
    return Corrupt(where + " has " + std::to_string(end - begin) +
                   " bytes where its shape needs " + std::to_string(size));
  tensor->data = data.subspan(begin, size);
  return Status::Ok();
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  SafetensorsFile opened;
  DAPPLE_ASSIGN_OR_RETURN(opened.file_, MmapFile::Open(path));
  const std::span<const std::byte> bytes = opened.file_.bytes();
  uint64_t header_size;
  if (bytes.size() < sizeof(header_size))
    return Corrupt(path + ": not a safetensors file");
  std::memcpy(&header_size, bytes.data(), sizeof(header_size));
  const std::span<const std::byte> rest = bytes.subspan(sizeof(header_size));
  if (header_size > kMaxHeaderBytes || header_size > rest.size())
    return Corrupt(path + ": a header of " + std::to_string(header_size) +
                   " bytes does not fit the file");
  DAPPLE_ASSIGN_OR_RETURN(
      const json header,
      ParseJsonObject(
          std::string_view(reinterpret_cast<const char*>(rest.data()),
                           header_size),
          path + ": header"));
  const std::span<const std::byte> data = rest.subspan(header_size);
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    SafeTensor tensor;
    DAPPLE_RETURN_IF_ERROR(ParseTensor(path, name, entry, data, &tensor));
    opened.tensors_.push_back(std::move(tensor));
  }
  // Empty tensors take no bytes, so they cannot overlap; they sort first.
  std::sort(opened.tensors_.begin(), opened.tensors_.end(),
            [](const SafeTensor& a, const SafeTensor& b) {
              return std::pair(a.data.data(), a.data.size()) <
                     std::pair(b.data.data(), b.data.size());
            });
  for (size_t i = 1; i < opened.tensors_.size(); ++i) {
    const SafeTensor& before = opened.tensors_[i - 1];
    const SafeTensor& after = opened.tensors_[i];
    if (before.data.data() + before.data.size() > after.data.data())
      return Corrupt(path + ": tensors " + Quoted(before.name) + " and " +
                     Quoted(after.name) + " overlap");
  }
  return opened;
}

Status Checkpoint::Add(const SafetensorsFile& file) {
  for (const SafeTensor& tensor : file.tensors()) {
    const auto [at, added] =
        entries_.emplace(tensor.name, Entry{&file.file(), &tensor});
    if (!added)
      return Corrupt(file.file().path() + ": tensor " + Quoted(tensor.name) +
                     " is also in " + at->second.file->path());
  }
  return Status::Ok();
}

Status Checkpoint::OpenShards(const std::string& folder,
                              const std::string& index_path) {
  DAPPLE_ASSIGN_OR_RETURN(const json index, ReadJsonObject(index_path));
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object())
    return Corrupt(index_path + ": no weight_map");
  std::set<std::string> shards;
  for (const auto& [name, shard] : map->items()) {
    const std::string* file = shard.get_ptr<const std::string*>();
    // Shards lie beside the index: a name with a folder in it is not ours.
    if (file == nullptr || file->empty() || file->front() == '.' ||
        file->find('/') != std::string::npos ||
        file->find('\0') != std::string::npos)
      return Corrupt(index_path + ": tensor " + Quoted(name) +
                     " has no usable file name");
    shards.insert(*file);
  }
  files_.reserve(shards.size());
  for (const std::string& shard : shards) {
    DAPPLE_ASSIGN_OR_RETURN(SafetensorsFile file,
                            SafetensorsFile::Open(folder + "/" + shard));
    files_.push_back(std::move(file));
    DAPPLE_RETURN_IF_ERROR(Add(files_.back()));
  }
  for (const auto& [name, shard] : map->items()) {
    const Entry* entry = Find(name);
    const std::string path =
        folder + "/" + *shard.get_ptr<const std::string*>();
    if (entry == nullptr || entry->file->path() != path)
      return Corrupt(path + ": tensor " + Quoted(name) +
                     " is missing, though the index names it");
  }
  return Status::Ok();
}

Result<Checkpoint> Checkpoint::Open(const std::string& folder) {
  Checkpoint checkpoint;
  const std::string single = folder + "/model.safetensors";
  const std::string index = single + ".index.json";
  if (access(single.c_str(), F_OK) != 0 && access(index.c_str(), F_OK) == 0) {
    DAPPLE_RETURN_IF_ERROR(checkpoint.OpenShards(folder, index));
  } else {
    DAPPLE_ASSIGN_OR_RETURN(SafetensorsFile file,
                            SafetensorsFile::Open(single));
    checkpoint.files_.push_back(std::move(file));
    DAPPLE_RETURN_IF_ERROR(checkpoint.Add(checkpoint.files_.back()));
  }
  return checkpoint;
}

const Checkpoint::Entry* Checkpoint::Find(std::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second;
}

}  // namespace dapple
