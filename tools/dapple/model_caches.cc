#include "model_caches.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

namespace dapple::tool {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxFolders = 8;            // nested
constexpr size_t kMaxFiles = 100'000;     // looked at in one cache
constexpr size_t kMaxManifest = 1 << 20;  // bytes

// "x-00002-of-00005.gguf": a part after the first.
bool IsLaterPart(const std::string& name) {
  const size_t of = name.rfind("-of-");
  return of != std::string::npos && of >= 6 && name[of - 6] == '-' &&
         name.size() == of + 4 + 5 + 5 && name.substr(of - 5, 5) != "00001";
}

class Finder {
 public:
  std::vector<FoundModel> found;

  // Every *.gguf below `root`, named by what `name_of` makes of its path
  // relative to `root`.
  template <class NameOf>
  void Folder(const std::string& root, const char* cache, NameOf name_of) {
    std::vector<FoundModel> here;
    std::error_code error;
    fs::recursive_directory_iterator at(
        root, fs::directory_options::skip_permission_denied, error);
    for (size_t n = 0; !error && at != fs::recursive_directory_iterator();
         at.increment(error)) {
      if (++n > kMaxFiles) break;
      if (at.depth() >= kMaxFolders) at.disable_recursion_pending();
      const fs::path path = at->path();
      if (path.extension() != ".gguf" || IsLaterPart(path.filename().string()))
        continue;
      here.push_back(
          {path.string(), name_of(path.lexically_relative(root)), cache});
    }
    Take(std::move(here));
  }

  // Ollama: manifests/HOST/NAMESPACE/MODEL/TAG name blobs/sha256-....
  void Ollama(const std::string& root) {
    std::vector<FoundModel> here;
    std::error_code error;
    const fs::path manifests = fs::path(root) / "manifests";
    fs::recursive_directory_iterator at(
        manifests, fs::directory_options::skip_permission_denied, error);
    for (size_t n = 0; !error && at != fs::recursive_directory_iterator();
         at.increment(error)) {
      if (++n > kMaxFiles) break;
      if (at.depth() >= kMaxFolders) at.disable_recursion_pending();
      if (!at->is_regular_file(error)) continue;
      const std::string blob = ModelBlob(at->path());
      if (blob.empty()) continue;
      const std::string tag = at->path().filename().string();
      const std::string model = at->path().parent_path().filename().string();
      here.push_back({(fs::path(root) / "blobs" / blob).string(),
                      model + ":" + tag, "Ollama"});
    }
    Take(std::move(here));
  }

 private:
  // The file name of the manifest's model layer, "" if it has none.
  static std::string ModelBlob(const fs::path& manifest) {
    std::error_code error;
    if (fs::file_size(manifest, error) > kMaxManifest || error) return {};
    std::ifstream in(manifest, std::ios::binary);
    const std::string text(std::istreambuf_iterator<char>(in), {});
    const auto object = nlohmann::json::parse(text, nullptr, false);
    if (!object.is_object() || !object.contains("layers") ||
        !object["layers"].is_array())
      return {};
    for (const auto& layer : object["layers"]) {
      if (!layer.is_object() || !layer.contains("mediaType") ||
          layer["mediaType"] != "application/vnd.ollama.image.model" ||
          !layer.contains("digest") || !layer["digest"].is_string())
        continue;
      std::string digest = layer["digest"].get<std::string>();
      // "sha256:<hex>": nothing that could leave the folder.
      if (digest.size() != 7 + 64 || !digest.starts_with("sha256:") ||
          digest.find_first_not_of("0123456789abcdef", 7) != std::string::npos)
        continue;
      digest[6] = '-';
      return digest;
    }
    return {};
  }

  void Take(std::vector<FoundModel> here) {
    std::ranges::sort(here, {}, &FoundModel::name);
    for (FoundModel& model : here) {
      struct stat info;
      if (stat(model.path.c_str(), &info) != 0 || !S_ISREG(info.st_mode))
        continue;
      if (seen_.emplace(info.st_dev, info.st_ino).second)
        found.push_back(std::move(model));
    }
  }

  std::set<std::pair<dev_t, ino_t>> seen_;
};

// "models--org--name/snapshots/<revision>/file.gguf" → "org/name file.gguf"
std::string HubName(const fs::path& relative) {
  std::string folder = relative.begin()->string();
  if (!folder.starts_with("models--")) return relative.string();
  folder.erase(0, 8);
  for (size_t at = 0; (at = folder.find("--", at)) != std::string::npos;)
    folder.replace(at, 2, "/");
  return folder + " " + relative.filename().string();
}

}  // namespace

std::vector<FoundModel> FindModels(const std::vector<std::string>& folders,
                                   const Environment& environment) {
  const std::string home = environment("HOME");
  std::string cache = environment("XDG_CACHE_HOME");
  if (cache.empty()) cache = home + "/.cache";
  const auto whole = [](const fs::path& relative) { return relative.string(); };
  Finder finder;
  for (const std::string& folder : folders)
    finder.Folder(folder, folder.c_str(), whole);

  std::string hub = environment("HF_HUB_CACHE");
  if (hub.empty() && !environment("HF_HOME").empty())
    hub = environment("HF_HOME") + "/hub";
  if (hub.empty()) hub = cache + "/huggingface/hub";
  finder.Folder(hub, "Hugging Face", HubName);

  std::string llama = environment("LLAMA_CACHE");
  if (llama.empty()) llama = cache + "/llama.cpp";
  finder.Folder(llama, "llama.cpp", whole);

  const std::string ollama = environment("OLLAMA_MODELS");
  if (!ollama.empty()) {
    finder.Ollama(ollama);
  } else {
    finder.Ollama(home + "/.ollama/models");
    finder.Ollama("/usr/share/ollama/.ollama/models");
  }
  finder.Folder(home + "/.lmstudio/models", "LM Studio", whole);
  finder.Folder(cache + "/lm-studio/models", "LM Studio", whole);
  return std::move(finder.found);
}

}  // namespace dapple::tool
