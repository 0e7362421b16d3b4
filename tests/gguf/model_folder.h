// A Hugging Face model folder to spoil: a copy of a fixture, whose JSON files
// and tensors a test then changes.
#ifndef DAPPLE_TESTS_GGUF_MODEL_FOLDER_H_
#define DAPPLE_TESTS_GGUF_MODEL_FOLDER_H_

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>

#include "test_files.h"

namespace dapple::testing {

class ModelFolder {
 public:
  explicit ModelFolder(const std::string& fixture) {
    for (const char* name :
         {"config.json", "model.safetensors", "tokenizer.model"})
      WriteBytes(folder_ / name, ReadBytes(TestData(fixture + "/" + name)));
  }

  std::string path() const { return folder_.path(); }
  std::string operator/(const std::string& name) const {
    return folder_ / name;
  }

  void Write(const std::string& name, const std::string& bytes) const {
    WriteBytes(folder_ / name, bytes);
  }
  void Remove(const std::string& name) const {
    std::error_code error;
    std::filesystem::remove(folder_ / name, error);
  }
  void Edit(const std::string& name,
            const std::function<void(nlohmann::json&)>& edit) const {
    nlohmann::json object = nlohmann::json::parse(ReadBytes(folder_ / name));
    edit(object);
    Write(name, object.dump());
  }
  // Changes the header of model.safetensors; offsets stay relative to the data.
  void EditTensors(const std::function<void(nlohmann::json&)>& edit) const {
    const std::string bytes = ReadBytes(folder_ / "model.safetensors");
    const size_t size = HeaderSize(bytes);
    nlohmann::json header = nlohmann::json::parse(bytes.substr(8, size));
    edit(header);
    const std::string text = header.dump();
    Write("model.safetensors",
          U64(text.size()) + text + bytes.substr(8 + size));
  }
  // Overwrites the first bytes of a tensor.
  void Poke(const std::string& tensor, const std::string& value) const {
    std::string bytes = ReadBytes(folder_ / "model.safetensors");
    const size_t size = HeaderSize(bytes);
    const auto header = nlohmann::json::parse(bytes.substr(8, size));
    const size_t at = header.at(tensor).at("data_offsets").at(0);
    bytes.replace(8 + size + at, value.size(), value);
    Write("model.safetensors", bytes);
  }

 private:
  static size_t HeaderSize(const std::string& bytes) {
    uint64_t size = 0;
    bytes.copy(reinterpret_cast<char*>(&size), sizeof(size));
    return size;
  }

  TempDir folder_;
};

}  // namespace dapple::testing

#endif  // DAPPLE_TESTS_GGUF_MODEL_FOLDER_H_
