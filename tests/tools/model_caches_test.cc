#include "model_caches.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "../gguf/test_files.h"

namespace dapple::tool {
namespace {

using dapple::testing::TempDir;
using dapple::testing::WriteBytes;

// A home folder and what the environment says.
struct Home {
  TempDir folder;
  std::map<std::string, std::string> variables;

  Home() { variables["HOME"] = folder.path(); }
  std::string Put(const std::string& name, const std::string& bytes = "x") {
    const std::filesystem::path path = folder / name;
    std::filesystem::create_directories(path.parent_path());
    return WriteBytes(path.string(), bytes);
  }
  std::vector<FoundModel> Find(const std::vector<std::string>& more = {}) {
    return FindModels(more, [this](const char* name) {
      const auto found = variables.find(name);
      return found == variables.end() ? std::string() : found->second;
    });
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const FoundModel& model : Find())
      names.push_back(model.cache + ": " + model.name);
    return names;
  }
};

std::string Manifest(const std::string& digest) {
  return R"({"layers": [{"mediaType": "application/vnd.ollama.image.params",)"
         R"( "digest": "sha256:00"},)"
         R"({"mediaType": "application/vnd.ollama.image.model", "digest": ")" +
         digest + "\"}]}";
}

TEST_CASE("models are found in every cache, and named for people") {
  Home home;
  const std::string hub = ".cache/huggingface/hub/models--org--a-model/";
  const std::string blob = home.Put(hub + "blobs/0123");
  std::filesystem::create_directories(home.folder / (hub + "snapshots/main"));
  std::filesystem::create_symlink(
      blob, home.folder / (hub + "snapshots/main/a.Q4.gguf"));
  home.Put(".cache/llama.cpp/org_b.gguf");
  home.Put(".cache/llama.cpp/org_b.gguf.json");
  home.Put(".lmstudio/models/org/c/c-00001-of-00002.gguf");
  home.Put(".lmstudio/models/org/c/c-00002-of-00002.gguf");
  const std::string hex(64, 'a');
  home.Put(".ollama/models/blobs/sha256-" + hex);
  home.Put(".ollama/models/manifests/registry/library/d/8b",
           Manifest("sha256:" + hex));
  CHECK(home.Names() ==
        std::vector<std::string>{"Hugging Face: org/a-model a.Q4.gguf",
                                 "llama.cpp: org_b.gguf", "Ollama: d:8b",
                                 "LM Studio: org/c/c-00001-of-00002.gguf"});
}

TEST_CASE("the environment says where caches are") {
  Home home;
  home.Put("hf/hub/models--o--m/snapshots/1/m.gguf");
  home.Put("xdg/llama.cpp/x.gguf");
  home.Put("ll/y.gguf");
  const std::string hex(64, 'b');
  home.Put("oll/blobs/sha256-" + hex);
  home.Put("oll/manifests/h/n/z/latest", Manifest("sha256:" + hex));
  CHECK(home.Names().empty());
  home.variables["XDG_CACHE_HOME"] = home.folder / "xdg";
  CHECK(home.Names() == std::vector<std::string>{"llama.cpp: x.gguf"});
  home.variables["LLAMA_CACHE"] = home.folder / "ll";
  home.variables["HF_HOME"] = home.folder / "hf";
  home.variables["OLLAMA_MODELS"] = home.folder / "oll";
  CHECK(home.Names() == std::vector<std::string>{"Hugging Face: o/m m.gguf",
                                                 "llama.cpp: y.gguf",
                                                 "Ollama: z:latest"});
  home.variables["HF_HUB_CACHE"] = home.folder / "ll";
  // The same file in two caches is listed once.
  CHECK(home.Names() ==
        std::vector<std::string>{"Hugging Face: y.gguf", "Ollama: z:latest"});
  CHECK(home.Find({home.folder / "ll"})[0].cache == home.folder / "ll");
}

TEST_CASE("Ollama manifests that lie are passed over") {
  Home home;
  home.Put(".ollama/models/x.gguf");
  for (const std::string& digest : std::vector<std::string>{
           "sha256:../../x", "sha256:" + std::string(64, '/'), "",
           "sha256:" + std::string(64, 'c')})  // no such blob
    home.Put(".ollama/models/manifests/r/l/m/" + std::to_string(digest.size()) +
                 digest.substr(0, 7) + "t",
             Manifest(digest));
  home.Put(".ollama/models/manifests/r/l/m/bad", "{");
  home.Put(".ollama/models/manifests/r/l/m/odd", R"({"layers": [1, {}]})");
  CHECK(home.Names().empty());
}

}  // namespace
}  // namespace dapple::tool
