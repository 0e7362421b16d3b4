// Files for these tests: a temporary folder, and GGUF bytes made by hand, in
// which any field may lie. Deliberately does not use GgufWriter.
#ifndef DAPPLE_TESTS_GGUF_TEST_FILES_H_
#define DAPPLE_TESTS_GGUF_TEST_FILES_H_

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace dapple::testing {

// Removed with everything in it at the end of the test case.
class TempDir {
 public:
  TempDir() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "dapple-test-XXXXXX");
    if (const char* made = mkdtemp(pattern.data())) path_ = made;
  }
  ~TempDir() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string path() const { return path_; }
  std::string operator/(const std::string& name) const {
    return path_ + "/" + name;
  }
  size_t file_count() const {
    const std::filesystem::directory_iterator begin(path_);
    return static_cast<size_t>(std::distance(begin, {}));
  }

 private:
  std::string path_;
};

inline std::string WriteBytes(const std::string& path, std::string_view bytes) {
  // A new file each time: some file systems flush when one is overwritten.
  std::error_code error;
  std::filesystem::remove(path, error);
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return path;
}

inline std::string ReadBytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

inline std::string TestData(const std::string& name) {
  const char* folder = std::getenv("DAPPLE_TEST_DATA");
  return std::string(folder == nullptr ? "tests/data" : folder) + "/" + name;
}

template <class T>
std::string Raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}
inline std::string U32(uint32_t value) { return Raw(value); }
inline std::string U64(uint64_t value) { return Raw(value); }
inline std::string Str(std::string_view text) {
  return U64(text.size()) + std::string(text);
}
// A metadata key: `payload` is what follows the type.
inline std::string Key(std::string_view name, uint32_t type,
                       const std::string& payload) {
  return Str(name) + U32(type) + payload;
}

struct RawTensor {
  std::string name;
  std::vector<uint64_t> dims;
  uint32_t type;
  uint64_t offset;
  // What the file claims, where it differs.
  int64_t claimed_dim_count = -1;

  std::string Bytes() const {
    std::string out = Str(name);
    out += U32(claimed_dim_count >= 0 ? static_cast<uint32_t>(claimed_dim_count)
                                      : static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) out += U64(dim);
    return out + U32(type) + U64(offset);
  }
};

// A good file of 3 keys and 2 tensors; tests change one field at a time.
struct RawGguf {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::vector<std::string> keys = {
      Key("general.architecture", 8, Str("llama")),
      Key("llama.block_count", 4, U32(1)),
      Key("tokens", 9, U32(8) + U64(2) + Str("ab") + Str("")),
  };
  std::vector<RawTensor> tensors = {
      {"a", {4, 2}, 0, 0},  // f32: 32 bytes
      {"b", {32}, 8, 32},   // q8_0: 34 bytes
  };
  int64_t claimed_key_count = -1;
  int64_t claimed_tensor_count = -1;
  uint64_t alignment = 32;
  uint64_t data_bytes = 66;

  std::string Bytes() const {
    std::string out = magic + U32(version);
    out += claimed_tensor_count >= 0
               ? U64(static_cast<uint64_t>(claimed_tensor_count))
               : U64(tensors.size());
    out += claimed_key_count >= 0
               ? U64(static_cast<uint64_t>(claimed_key_count))
               : U64(keys.size());
    for (const std::string& key : keys) out += key;
    for (const RawTensor& tensor : tensors) out += tensor.Bytes();
    while (out.size() % alignment != 0) out += '\0';
    for (uint64_t i = 0; i < data_bytes; ++i)
      out += static_cast<char>(i * 7 + 1);
    return out;
  }
};

}  // namespace dapple::testing

#endif  // DAPPLE_TESTS_GGUF_TEST_FILES_H_
