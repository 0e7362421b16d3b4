#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "dapple/model_info.h"
#include "dapple/quantize.h"
#include "gguf/gguf_file.h"
#include "gguf/gguf_writer.h"
#include "test_files.h"

namespace dapple {
namespace {

using namespace testing;

struct Part {
  uint32_t number;
  uint32_t count = 3;
  uint32_t tensors = 3;
  std::vector<std::string> names;  // of its tensors, 32 floats each
  float value = 0.0f;              // of all of them
};

void WritePart(const std::string& path, const Part& part) {
  GgufWriter writer = std::move(GgufWriter::Create(path)).value();
  if (part.number == 0) writer.AddString("general.architecture", "llama");
  writer.AddUint32("split.no", part.number);
  writer.AddUint32("split.count", part.count);
  writer.AddUint32("split.tensors.count", part.tensors);
  const uint64_t dims[] = {32};
  for (const std::string& name : part.names)
    writer.AddTensor(name, TensorType::kF32, dims);
  REQUIRE(writer.BeginData().ok());
  const std::vector<float> values(32, part.value);
  for (size_t i = 0; i < part.names.size(); ++i)
    REQUIRE(writer.Append(std::as_bytes(std::span(values))).ok());
  REQUIRE(writer.Finish().ok());
}

// A good model: no tensor in the first part, one and two in the others.
std::string WriteModel(const TempDir& folder) {
  WritePart(folder / "m-00001-of-00003.gguf", {0, 3, 3, {}});
  WritePart(folder / "m-00002-of-00003.gguf", {1, 3, 3, {"a"}, 1.0f});
  WritePart(folder / "m-00003-of-00003.gguf", {2, 3, 3, {"b", "c"}, 2.0f});
  return folder / "m-00001-of-00003.gguf";
}

void CheckRefused(const std::string& path, StatusCode code,
                  const std::string& says) {
  const Status status = GgufFile::Open(path).status();
  CAPTURE(status.message());
  CHECK(status.code() == code);
  CHECK(status.message().find(says) != std::string::npos);
}

TEST_CASE("a split model opens by its first part and has all tensors") {
  const TempDir folder;
  const std::string path = WriteModel(folder);
  auto opened = GgufFile::Open(path);
  REQUIRE_MESSAGE(opened.ok(), opened.status().message());
  const GgufFile file = std::move(opened).value();  // views survive the move
  REQUIRE(file.tensors().size() == 3);
  CHECK(file.parts().size() == 2);
  CHECK(file.String("general.architecture").value() == "llama");
  const GgufTensor* c = file.FindTensor("c");
  REQUIRE(c != nullptr);
  float value;
  std::memcpy(&value, c->data.data() + 124, sizeof(value));
  CHECK(value == 2.0f);
  uint64_t bytes = 0;
  for (const char* name : {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf",
                           "m-00003-of-00003.gguf"})
    bytes += std::filesystem::file_size(folder / name);
  CHECK(file.total_bytes() == bytes);
  const auto info = InspectModel(path);
  REQUIRE(info.ok());
  CHECK(info->file_bytes == bytes);
  CHECK(info->tensors.size() == 3);
  // Quantizing makes one whole file of it.
  QuantizeOptions options;
  options.input_path = path;
  options.output_path = folder / "whole.gguf";
  options.type = "q8_0";
  REQUIRE(Quantize(options).ok());
  const GgufFile whole = std::move(GgufFile::Open(options.output_path)).value();
  CHECK(whole.tensors().size() == 3);
  CHECK(whole.parts().empty());
  CHECK(whole.Find("split.count") == nullptr);
}

TEST_CASE(
    "a part that is missing, of another model or not the first is named") {
  const TempDir folder;
  const std::string path = WriteModel(folder);
  const std::string second = folder / "m-00002-of-00003.gguf";
  const std::string third = folder / "m-00003-of-00003.gguf";
  CheckRefused(third, StatusCode::kInvalidArgument,
               "part 3 of 3 of a model: open the first, " + path);
  std::filesystem::rename(third, folder / "gone");
  CheckRefused(path, StatusCode::kNotFound, third + ": part 3 of 3 is missing");
  WritePart(third, {1, 3, 3, {"b", "c"}});
  CheckRefused(path, StatusCode::kCorrupt, third + ": is not part 3 of 3");
  WritePart(third, {2, 4, 3, {"b", "c"}});
  CheckRefused(path, StatusCode::kCorrupt, third + ": is not part 3 of 3");
  WritePart(third, {2, 3, 9, {"b", "c"}});
  CheckRefused(path, StatusCode::kCorrupt, third + ": is not part 3 of 3");
  WritePart(third, {2, 3, 3, {"b", "a"}});
  CheckRefused(path, StatusCode::kCorrupt, third + ": tensor 'a'");
  WritePart(third, {2, 3, 3, {"b"}});
  CheckRefused(path, StatusCode::kCorrupt, "2 tensors, not the 3");
  const std::string bytes = ReadBytes(folder / "gone");
  WriteBytes(third, bytes.substr(0, bytes.size() - 64));
  CheckRefused(path, StatusCode::kCorrupt, third);
  WriteBytes(third, bytes);
  CHECK(GgufFile::Open(path).ok());
  std::filesystem::rename(path, folder / "model.gguf");
  CheckRefused(folder / "model.gguf", StatusCode::kInvalidArgument,
               "its name must end in -00001-of-00003.gguf");
  WritePart(folder / "x-00001-of-70000.gguf", {0, 70000, 3, {}});
  CheckRefused(folder / "x-00001-of-70000.gguf", StatusCode::kCorrupt,
               "split.count is 70000");
  // One part alone is no split.
  WritePart(folder / "one.gguf", {0, 1, 1, {"a"}});
  CHECK(GgufFile::Open(folder / "one.gguf").ok());
}

}  // namespace
}  // namespace dapple
