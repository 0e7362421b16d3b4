// Where other programs keep GGUF files, and which are there.
//
// Reads folders alone; nothing is opened but Ollama's manifests, which name
// what its blobs are. Follows symbolic links of files, not of folders.
#ifndef DAPPLE_TOOLS_MODEL_CACHES_H_
#define DAPPLE_TOOLS_MODEL_CACHES_H_

#include <functional>
#include <string>
#include <vector>

namespace dapple::tool {

struct FoundModel {
  std::string path;
  std::string name;   // for people: "org/model file.gguf", "llama3:8b"
  std::string cache;  // "Hugging Face", "llama.cpp", "Ollama", "LM Studio"
};

// The value of an environment variable, "" where it is not set.
using Environment = std::function<std::string(const char* name)>;

// Each file once (by inode), in the order of the caches, then by name. Of a
// split model its first part. `folders` are looked through first.
std::vector<FoundModel> FindModels(const std::vector<std::string>& folders,
                                   const Environment& environment);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_MODEL_CACHES_H_
