// TemporaryFolder: an empty folder that disappears with its contents.
#ifndef DAPPLE_TESTS_UTIL_TEMPORARY_FOLDER_H_
#define DAPPLE_TESTS_UTIL_TEMPORARY_FOLDER_H_

#include <doctest/doctest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace dapple {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name =
        (std::filesystem::temp_directory_path() / "dapple test XXXXXX")
            .string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string Path(const std::string& name) const { return path_ / name; }

  // Writes a file; returns its path.
  std::string Write(const std::string& name, const std::string& bytes) const {
    std::ofstream file(path_ / name, std::ios::binary);
    file << bytes;
    REQUIRE(file.flush());
    return Path(name);
  }

 private:
  std::filesystem::path path_;
};

}  // namespace dapple

#endif  // DAPPLE_TESTS_UTIL_TEMPORARY_FOLDER_H_
