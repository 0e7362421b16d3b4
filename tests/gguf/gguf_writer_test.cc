#include "gguf/gguf_writer.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "gguf/gguf_file.h"
#include "test_files.h"
#include "util/atomic_file.h"

namespace dapple {
namespace {

using testing::ReadBytes;
using testing::TempDir;
using testing::WriteBytes;

std::span<const std::byte> AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST_CASE("what the writer writes, the reader reads") {
  const TempDir folder;
  const std::string path = folder / "x.gguf";
  Result<GgufWriter> made = GgufWriter::Create(path);
  REQUIRE(made.ok());
  GgufWriter writer = std::move(made).value();
  writer.AddUint32("u", 7);
  writer.AddFloat32("f", 0.1f);
  writer.AddBool("b", true);
  writer.AddString("s", "a\nb");
  const std::vector<std::string> strings = {"", "x", std::string("\0y", 2)};
  writer.AddStrings("ss", strings);
  const std::vector<float> floats = {1.0f, -2.5f};
  writer.AddFloats("ff", floats);
  const std::vector<int32_t> ints = {-1, 1 << 30};
  writer.AddInts("ii", ints);
  // Sizes that leave every tensor but the first off the alignment.
  const uint64_t dims_a[] = {8};
  const uint64_t dims_b[] = {3, 5, 2, 1};
  const uint64_t dims_c[] = {64, 3};
  writer.AddTensor("a", TensorType::kF32, dims_a);   // 32 bytes
  writer.AddTensor("b", TensorType::kF16, dims_b);   // 60
  writer.AddTensor("c", TensorType::kQ4_0, dims_c);  // 108
  REQUIRE(writer.BeginData().ok());
  std::string data;
  for (int i = 0; i < 200; ++i) data += static_cast<char>(i + 3);
  // In pieces that cross the borders of the tensors.
  for (size_t at = 0; at < data.size(); at += 17)
    REQUIRE(writer.Append(AsBytes(data.substr(at, 17))).ok());
  CHECK_FALSE(std::filesystem::exists(path));
  REQUIRE(writer.Finish().ok());
  CHECK(folder.file_count() == 1);
  CHECK(std::filesystem::file_size(path) == writer.file_size());

  const Result<GgufFile> file = GgufFile::Open(path);
  REQUIRE_MESSAGE(file.ok(), file.status().message());
  CHECK(file->version() == 3);
  CHECK(file->metadata().size() == 7);
  CHECK(*file->Uint("u").value() == 7);
  CHECK(*file->Float("f").value() == static_cast<double>(0.1f));
  CHECK(*file->Bool("b").value());
  CHECK(*file->String("s").value() == "a\nb");
  const auto read = *file->Strings("ss").value();
  CHECK(std::vector<std::string>(read.begin(), read.end()) == strings);
  CHECK(*file->Floats("ff").value() == floats);
  CHECK(*file->Ints("ii").value() == std::vector<int64_t>{-1, 1 << 30});
  std::string joined;
  for (const char* name : {"a", "b", "c"}) {
    const GgufTensor* tensor = file->FindTensor(name);
    REQUIRE(tensor != nullptr);
    joined.append(reinterpret_cast<const char*>(tensor->data.data()),
                  tensor->data.size());
    CHECK(reinterpret_cast<uintptr_t>(tensor->data.data()) % 32 == 0);
  }
  CHECK(joined == data);
  const GgufTensor* b = file->FindTensor("b");
  CHECK(b->dim_count == 4);
  CHECK(b->dims[0] == 3);
  CHECK(b->dims[1] == 5);
  CHECK(b->dims[2] == 2);
}

TEST_CASE("an unfinished or misused writer leaves nothing behind") {
  const TempDir folder;
  const std::string path = folder / "x.gguf";
  const uint64_t dims[] = {8};
  const auto start = [&](auto&& use) {
    Result<GgufWriter> writer = GgufWriter::Create(path);
    REQUIRE(writer.ok());
    use(*writer);
  };
  start([&](GgufWriter& writer) {
    writer.AddTensor("a", TensorType::kF32, dims);
    REQUIRE(writer.BeginData().ok());
    REQUIRE(writer.Append(AsBytes(std::string(31, 'x'))).ok());
    CHECK(folder.file_count() == 1);  // the temporary file
    CHECK_FALSE(writer.Finish().ok());
  });
  start([&](GgufWriter& writer) {
    writer.AddTensor("a", TensorType::kF32, dims);
    REQUIRE(writer.BeginData().ok());
    CHECK_FALSE(writer.Append(AsBytes(std::string(33, 'x'))).ok());
  });
  start([&](GgufWriter& writer) {
    CHECK_FALSE(writer.Append(AsBytes(std::string(1, 'x'))).ok());
    CHECK_FALSE(writer.Finish().ok());
  });
  start([&](GgufWriter& writer) {
    writer.AddUint32("k", 1);
    writer.AddBool("k", true);
    CHECK_FALSE(writer.BeginData().ok());
  });
  start([&](GgufWriter& writer) {
    writer.AddTensor("a", TensorType::kF32, dims);
    writer.AddTensor("a", TensorType::kF32, dims);
    CHECK_FALSE(writer.BeginData().ok());
  });
  start([&](GgufWriter& writer) {
    writer.AddTensor("a", TensorType::kQ8_0, dims);  // a row of 8
    CHECK_FALSE(writer.BeginData().ok());
  });
  CHECK(folder.file_count() == 0);
}

TEST_CASE("an atomic file replaces its target only when committed") {
  const TempDir folder;
  const std::string path = WriteBytes(folder / "out", "old");
  {
    Result<AtomicFile> file = AtomicFile::Create(path);
    REQUIRE(file.ok());
    REQUIRE(file->Write(AsBytes("new")).ok());
    CHECK(ReadBytes(path) == "old");
  }
  CHECK(ReadBytes(path) == "old");
  CHECK(folder.file_count() == 1);
  Result<AtomicFile> file = AtomicFile::Create(path);
  REQUIRE(file.ok());
  REQUIRE(file->Write(AsBytes("ne")).ok());
  AtomicFile moved = std::move(file).value();
  REQUIRE(moved.Write(AsBytes("w")).ok());
  REQUIRE(moved.Commit().ok());
  CHECK(moved.size() == 3);
  CHECK(ReadBytes(path) == "new");
  CHECK(folder.file_count() == 1);
  CHECK_FALSE(moved.Write(AsBytes("more")).ok());
  CHECK_FALSE(moved.Commit().ok());
  CHECK(ReadBytes(path) == "new");
}

TEST_CASE("an atomic file follows a link and has the user's permissions") {
  const TempDir folder;
  WriteBytes(folder / "real", "old");
  std::filesystem::create_symlink("real", folder / "link");
  Result<AtomicFile> file = AtomicFile::Create(folder / "link");
  REQUIRE(file.ok());
  REQUIRE(file->Write(AsBytes("new")).ok());
  REQUIRE(file->Commit().ok());
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(ReadBytes(folder / "real") == "new");
  const mode_t mask = umask(0);
  umask(mask);
  struct stat info;
  REQUIRE(stat((folder / "real").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == (0666 & ~mask));
}

TEST_CASE("an atomic file refuses what it cannot replace") {
  const TempDir folder;
  CHECK(AtomicFile::Create(folder.path()).status().code() ==
        StatusCode::kInvalidArgument);
  CHECK(AtomicFile::Create("/dev/full").status().code() ==
        StatusCode::kInvalidArgument);
  CHECK(AtomicFile::Create("").status().code() == StatusCode::kInvalidArgument);
  const Status missing = AtomicFile::Create(folder / "no/x").status();
  CHECK(missing.code() == StatusCode::kNotFound);
  CHECK(missing.message().starts_with(folder / "no/x"));
  CHECK_FALSE(AtomicFile::Create(folder / "").ok());
}

}  // namespace
}  // namespace dapple
