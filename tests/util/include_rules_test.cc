// Who may include what (the table in CONTRIBUTING.md), and what no file of the
// project may name.
#include <doctest/doctest.h>
#include <stdio.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dapple {
namespace {

namespace fs = std::filesystem;

fs::path SourceRoot() {
  const char* root = std::getenv("DAPPLE_SOURCE_ROOT");
  REQUIRE_MESSAGE(root != nullptr, "set DAPPLE_SOURCE_ROOT");
  return root;
}

std::string Contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

// Modules a folder may include besides itself and include/dapple. Folders of
// src go by their name. tests/ may include all and is not listed.
const std::map<std::string, std::set<std::string>>& AllowedModules() {
  static const auto& allowed =
      *new std::map<std::string, std::set<std::string>>{
          {"include", {}},
          {"util", {}},
          {"gguf", {"util"}},
          {"text", {"util", "gguf"}},
          {"kernels", {"util"}},
          {"kv", {"util"}},
          {"gemm", {"util", "kernels"}},
          {"policy", {"util", "kernels"}},
          {"convert", {"util", "gguf", "text", "kernels"}},
          {"model", {"util", "gguf", "gemm", "kernels", "kv"}},
          {"engine",
           {"util", "gguf", "text", "kernels", "kv", "gemm", "policy",
            "model"}},
          {"capi", {}},
          {"tools", {}},
          {"bench", {"util", "kernels", "gemm"}},
      };
  return allowed;
}

// Libraries that stay behind one door: include prefix, and the places
// (folders, or one file) that may use it.
struct Door {
  std::string_view header;
  std::vector<std::string_view> places;
};
const std::vector<Door>& Doors() {
  static const auto& doors = *new std::vector<Door>{
      {"hwy/",
       {"src/kernels/", "src/gemm/", "tests/kernels/", "tests/gemm/",
        "bench/"}},
      {"oneapi/", {"src/gemm/"}},
      {"dnnl", {"src/gemm/"}},
      // oneDNN takes its number of threads from OpenMP's setting alone.
      {"omp.h", {"src/util/parallel.cc", "src/gemm/onednn_gemm.cc"}},
      {"sentencepiece",
       {"src/text/", "src/convert/", "tests/text/", "tests/gguf/"}},
      {"pcre2", {"src/text/"}},
      {"nlohmann/", {"src/convert/", "tools/", "tests/", "bench/"}},
      {"CLI/", {"tools/", "bench/"}},
      {"doctest/", {"tests/"}},
  };
  return doors;
}

// "src/kv/slots.h" → "kv", "tools/dapple/io.cc" → "tools".
std::string ModuleOf(const std::string& path) {
  const std::string rest = StartsWith(path, "src/") ? path.substr(4) : path;
  return rest.substr(0, rest.find('/'));
}

// What is wrong with the includes of the file at `path` (relative to the
// root), one line each.
std::vector<std::string> Violations(const std::string& path,
                                    const std::string& text) {
  static const std::regex include(
      R"(^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+))", std::regex::multiline);
  std::vector<std::string> wrong;
  const std::string module = ModuleOf(path);
  const auto rule = AllowedModules().find(module);
  if (rule == AllowedModules().end() && module != "tests")
    return {path + ": a folder without a rule"};
  for (auto match = std::sregex_iterator(text.begin(), text.end(), include);
       match != std::sregex_iterator(); ++match) {
    const std::string header = (*match)[2];
    const std::string line = path + " includes " + header;
    // A test may borrow from its neighbour's folder.
    if ((StartsWith(header, "../") && module != "tests") ||
        StartsWith(header, "/") || StartsWith(header, "src/") ||
        StartsWith(header, "include/"))
      wrong.push_back(line + ": not relative to src or include");
    for (const Door& door : Doors()) {
      if (!StartsWith(header, door.header)) continue;
      bool open = false;
      for (std::string_view place : door.places)
        open = open || StartsWith(path, place);
      if (!open) wrong.push_back(line + ": that library is kept behind a door");
    }
    const std::string target = ModuleOf(header);
    if (module == "tests" || (*match)[1] == "<" || target == module) continue;
    // What is no module of ours is a library or lies beside the file.
    if (AllowedModules().count(target) != 0 && rule->second.count(target) == 0)
      wrong.push_back(line + ": " + module + " may not use " + target);
  }
  return wrong;
}

TEST_CASE("the source keeps to the include rules") {
  const fs::path root = SourceRoot();
  size_t files = 0;
  for (const char* top : {"include", "src", "tools", "tests", "bench"}) {
    if (!fs::exists(root / top)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cc") continue;
      ++files;
      const std::string path =
          entry.path().lexically_relative(root).generic_string();
      for (const std::string& wrong : Violations(path, Contents(entry.path())))
        FAIL_CHECK(wrong);
    }
  }
  CHECK(files > 20);
}

TEST_CASE("the include rules catch what they forbid") {
  const auto bad = [](const char* path, const char* text) {
    return Violations(path, text).size();
  };
  CHECK(bad("src/kernels/a.cc", "#include \"kv/slots.h\"\n") == 1);
  CHECK(bad("src/kernels/a.cc", "int x;\n  #  include  \"gemm/gemm.h\"") == 1);
  CHECK(bad("src/kv/a.h", "#include \"kernels/norm.h\"") == 1);
  CHECK(bad("src/policy/a.h", "#include \"kv/slots.h\"") == 1);
  CHECK(bad("src/model/a.h", "#include \"text/chat.h\"") == 1);
  CHECK(bad("src/convert/a.h", "#include \"model/model_config.h\"") == 1);
  CHECK(bad("src/engine/a.h", "#include \"convert/hf.h\"") == 1);
  CHECK(bad("tools/dapple/a.cc", "#include \"util/arena.h\"") == 1);
  CHECK(bad("include/dapple/a.h", "#include \"util/arena.h\"") == 1);
  CHECK(bad("bench/a.cc", "#include \"model/model_config.h\"") == 1);
  CHECK(bad("src/engine/a.cc", "#include \"hwy/highway.h\"") == 1);
  CHECK(bad("src/kernels/a.cc", "#include <oneapi/dnnl/dnnl.hpp>") == 1);
  CHECK(bad("src/util/arena.cc", "#include <omp.h>") == 1);
  CHECK(bad("src/engine/a.cc", "#include <sentencepiece_processor.h>") == 1);
  CHECK(bad("src/gguf/a.cc", "#include \"../util/arena.h\"") == 1);
  CHECK(bad("src/helpers/a.cc", "") == 1);

  CHECK(bad("src/engine/a.cc",
            "#include \"model/x.h\"\n#include <vector>\n"
            "#include \"dapple/status.h\"") == 0);
  CHECK(bad("src/util/parallel.cc", "#include <omp.h>") == 0);
  CHECK(bad("src/gemm/a.cc",
            "#include \"hwy/highway.h\"\n"
            "#include <oneapi/dnnl/dnnl.hpp>") == 0);
  CHECK(bad("tools/dapple/a.cc",
            "#include \"command.h\"\n"
            "#include \"dapple/engine.h\"") == 0);
  CHECK(bad("src/kv/a.cc", "// #include \"gemm/gemm.h\"") == 0);
}

// The files that git would commit; without git, all outside of build folders.
std::vector<fs::path> ProjectFiles(const fs::path& root) {
  std::vector<fs::path> files;
  if (fs::exists(root / ".git")) {
    std::string quoted;
    for (char c : root.string())
      quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    const std::string command = "git -C '" + quoted + "' ls-files -z 2>&1";
    if (FILE* pipe = popen(command.c_str(), "r")) {
      std::string name;
      for (int c; (c = fgetc(pipe)) != EOF;) {
        if (c != 0) {
          name += static_cast<char>(c);
          continue;
        }
        if (fs::is_regular_file(root / name)) files.push_back(root / name);
        name.clear();
      }
      if (pclose(pipe) == 0 && !files.empty()) return files;
    }
    files.clear();
  }
  for (auto entry = fs::recursive_directory_iterator(root);
       entry != fs::recursive_directory_iterator(); ++entry) {
    const std::string name = entry->path().filename().string();
    if (entry->is_directory() &&
        (name == ".git" || name == ".deps" || name == ".cache" ||
         StartsWith(name, "build")))
      entry.disable_recursion_pending();
    else if (entry->is_regular_file())
      files.push_back(entry->path());
  }
  return files;
}

TEST_CASE("no file names a package host or a path of one machine") {
  // Each word is cut in two, or this file would name it.
  const std::pair<std::string, std::string> halves[] = {
      {"deb.debian", ".org"},
      {"security.debian", ".org"},
      {"snapshot.debian", ".org"},
      {"archive.ubuntu", ".com"},
      {"ports.ubuntu", ".com"},
      {"security.ubuntu", ".com"},
      {"old-releases.ubuntu", ".com"},
      {"pypi", ".org"},
      {"pythonhosted", ".org"},
      {"registry.npmjs", ".org"},
      {"crates", ".io"},
      {"proxy.golang", ".org"},
      {"huggingface", ".co"},
      {"ghcr", ".io"},
      {"docker", ".io"},
      {"quay", ".io"},
      {"../sha", "red"},
      {"/work/", "main"},
      {"/work/", "shared"},
  };
  const fs::path root = SourceRoot();
  const std::vector<fs::path> files = ProjectFiles(root);
  CHECK(files.size() > 20);
  for (const fs::path& file : files) {
    if (file.extension() == ".gguf" || file.extension() == ".safetensors")
      continue;
    const std::string text = Contents(file);
    for (const auto& [first, second] : halves) {
      INFO(file.string());
      const bool named = text.find(first + second) != std::string::npos;
      CHECK_MESSAGE(!named, first, second);
    }
  }
}

}  // namespace
}  // namespace dapple
