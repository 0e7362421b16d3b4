#include "gguf/gguf_file.h"

#include <doctest/doctest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "test_files.h"

namespace dapple {
namespace {

using testing::Key;
using testing::Raw;
using testing::RawGguf;
using testing::Str;
using testing::TempDir;
using testing::U32;
using testing::U64;
using testing::WriteBytes;

Result<GgufFile> OpenBytes(const TempDir& folder, const std::string& bytes) {
  return GgufFile::Open(WriteBytes(folder / "x.gguf", bytes));
}

// Opens a file with these keys alone.
Result<GgufFile> OpenKeys(const TempDir& folder,
                          const std::vector<std::string>& keys) {
  RawGguf raw;
  raw.keys = keys;
  return OpenBytes(folder, raw.Bytes());
}

TEST_CASE("a hand-made file is read as it was written, v2 and v3") {
  const TempDir folder;
  for (const uint32_t version : {2u, 3u}) {
    RawGguf raw;
    raw.version = version;
    const std::string bytes = raw.Bytes();
    const Result<GgufFile> file = OpenBytes(folder, bytes);
    REQUIRE_MESSAGE(file.ok(), file.status().message());
    CHECK(file->version() == version);
    CHECK(file->alignment() == 32);
    REQUIRE(file->metadata().size() == 3);
    CHECK(file->metadata()[1].first == "llama.block_count");
    CHECK(*file->String("general.architecture").value() == "llama");
    CHECK(*file->Uint("llama.block_count").value() == 1);
    const auto strings = file->Strings("tokens");
    REQUIRE(strings.ok());
    REQUIRE((*strings)->size() == 2);
    CHECK((**strings)[0] == "ab");
    CHECK((**strings)[1] == "");

    REQUIRE(file->tensors().size() == 2);
    const GgufTensor* a = file->FindTensor("a");
    REQUIRE(a != nullptr);
    CHECK(a->dim_count == 2);
    CHECK(a->dims[0] == 4);
    CHECK(a->dims[1] == 2);
    CHECK(a->dims[3] == 1);
    CHECK(a->elements() == 8);
    CHECK(a->data.size() == 32);
    const GgufTensor* b = file->FindTensor("b");
    REQUIRE(b != nullptr);
    CHECK(b->type == TensorType::kQ8_0);
    REQUIRE(b->data.size() == 34);
    CHECK(std::to_integer<int>(b->data[0]) == (32 * 7 + 1) % 256);
    CHECK(&b->data.back() == &file->file().bytes().back());
    CHECK(file->FindTensor("c") == nullptr);
    CHECK(file->Find("c") == nullptr);
  }
}

TEST_CASE("a moved file keeps its views") {
  const TempDir folder;
  Result<GgufFile> opened = OpenBytes(folder, RawGguf().Bytes());
  REQUIRE(opened.ok());
  const GgufFile file = std::move(opened).value();
  CHECK(*file.String("general.architecture").value() == "llama");
  CHECK(file.FindTensor("b")->data.size() == 34);
}

TEST_CASE("a vocabulary alone needs no tensor data and no padding") {
  const TempDir folder;
  RawGguf raw;
  raw.tensors.clear();
  raw.alignment = 1;
  raw.data_bytes = 0;
  const Result<GgufFile> file = OpenBytes(folder, raw.Bytes());
  REQUIRE_MESSAGE(file.ok(), file.status().message());
  CHECK(file->tensors().empty());
}

TEST_CASE("general.alignment moves the data") {
  const TempDir folder;
  RawGguf raw;
  raw.keys.push_back(Key("general.alignment", 4, U32(128)));
  raw.alignment = 128;
  raw.tensors[1].offset = 128;
  raw.data_bytes = 128 + 34;
  const Result<GgufFile> file = OpenBytes(folder, raw.Bytes());
  REQUIRE_MESSAGE(file.ok(), file.status().message());
  CHECK(file->alignment() == 128);
  CHECK(std::to_integer<int>(file->FindTensor("b")->data[0]) ==
        (128 * 7 + 1) % 256);
}

TEST_CASE("typed look-ups accept what the value holds and nothing else") {
  const TempDir folder;
  const double inf = std::numeric_limits<double>::infinity();
  const Result<GgufFile> file = OpenKeys(
      folder,
      {Key("u8", 0, Raw<uint8_t>(200)), Key("i8", 1, Raw<int8_t>(-3)),
       Key("u16", 2, Raw<uint16_t>(60000)), Key("i16", 3, Raw<int16_t>(7)),
       Key("u32", 4, U32(4000000000u)), Key("i32", 5, Raw<int32_t>(-1)),
       Key("u64", 10, U64(UINT64_MAX)), Key("i64", 11, Raw<int64_t>(9)),
       Key("f32", 6, Raw(1.5f)), Key("f64", 12, Raw(inf)),
       Key("yes", 7, Raw<uint8_t>(1)), Key("no", 7, Raw<uint8_t>(0)),
       Key("text", 8, Str("x")),
       Key("i16s", 9, U32(3) + U64(2) + Raw<int16_t>(-5) + Raw<int16_t>(6)),
       Key("u64s", 9, U32(10) + U64(1) + U64(UINT64_MAX)),
       Key("f64s", 9, U32(12) + U64(1) + Raw(0.25)),
       Key("empty", 9, U32(5) + U64(0)),
       Key("bools", 9, U32(7) + U64(1) + Raw<uint8_t>(1))});
  REQUIRE_MESSAGE(file.ok(), file.status().message());
  CHECK(*file->Uint("u8").value() == 200);
  CHECK(*file->Uint("u16").value() == 60000);
  CHECK(*file->Uint("i16").value() == 7);
  CHECK(*file->Uint("u32").value() == 4000000000u);
  CHECK(*file->Uint("u64").value() == UINT64_MAX);
  CHECK(*file->Uint("i64").value() == 9);
  CHECK(*file->Float("f32").value() == 1.5);
  CHECK(*file->Float("f64").value() == inf);
  CHECK(*file->Bool("yes").value() == true);
  CHECK(*file->Bool("no").value() == false);
  CHECK(*file->Ints("i16s").value() == std::vector<int64_t>{-5, 6});
  CHECK(*file->Floats("f64s").value() == std::vector<float>{0.25f});
  CHECK(file->Ints("empty").value()->empty());
  CHECK_FALSE(file->Uint("absent").value().has_value());
  CHECK_FALSE(file->Strings("absent").value().has_value());

  for (const char* key : {"i8", "i32", "f32", "yes", "text", "i16s"}) {
    CAPTURE(key);
    const auto value = file->Uint(key);
    REQUIRE_FALSE(value.ok());
    CHECK(value.status().code() == StatusCode::kCorrupt);
    CHECK(value.status().message().find(key) != std::string::npos);
    CHECK(value.status().message().starts_with(file->path() + ": "));
  }
  CHECK_FALSE(file->Float("u32").ok());
  CHECK_FALSE(file->Bool("u8").ok());
  CHECK_FALSE(file->String("u8").ok());
  CHECK_FALSE(file->Strings("i16s").ok());
  CHECK_FALSE(file->Strings("text").ok());
  CHECK_FALSE(file->Floats("i16s").ok());
  CHECK_FALSE(file->Floats("f32").ok());
  CHECK_FALSE(file->Ints("f64s").ok());
  CHECK_FALSE(file->Ints("u64s").ok());
  CHECK_FALSE(file->Ints("bools").ok());
  CHECK_FALSE(file->Ints("u32").ok());
}

// One field is made to lie; the message must say which.
struct Lie {
  const char* says;  // part of the message
  std::function<void(RawGguf&)> tell;
  StatusCode code = StatusCode::kCorrupt;
};

void CheckLies(const std::vector<Lie>& lies) {
  const TempDir folder;
  for (const Lie& lie : lies) {
    CAPTURE(lie.says);
    RawGguf raw;
    lie.tell(raw);
    const Result<GgufFile> file = OpenBytes(folder, raw.Bytes());
    REQUIRE_FALSE(file.ok());
    CAPTURE(file.status().message());
    CHECK(file.status().code() == lie.code);
    CHECK(file.status().message().starts_with(folder / "x.gguf" + ": "));
    CHECK(file.status().message().find(lie.says) != std::string::npos);
    CHECK(file.status().message().find('\n') == std::string::npos);
  }
}

TEST_CASE("a lying header is refused") {
  CheckLies({
      {"not a GGUF file", [](RawGguf& r) { r.magic = "GGML"; }},
      {"version 1 ", [](RawGguf& r) { r.version = 1; },
       StatusCode::kUnsupported},
      {"version 4 ", [](RawGguf& r) { r.version = 4; },
       StatusCode::kUnsupported},
      {"version 0 ", [](RawGguf& r) { r.version = 0; },
       StatusCode::kUnsupported},
      {"big-endian", [](RawGguf& r) { r.version = 0x03000000; },
       StatusCode::kUnsupported},
      {"metadata keys, more than",
       [](RawGguf& r) { r.claimed_key_count = INT64_MAX; }},
      {"tensors, more than",
       [](RawGguf& r) { r.claimed_tensor_count = INT64_MAX; }},
      {"tensor", [](RawGguf& r) { r.claimed_tensor_count = 3; }},
      {"file ends inside", [](RawGguf& r) { r.claimed_key_count = 4; }},
  });
}

TEST_CASE("lying metadata is refused") {
  const auto with = [](std::string key) {
    return [key](RawGguf& r) { r.keys.push_back(key); };
  };
  CheckLies({
      {"occurs twice", with(Key("tokens", 4, U32(1)))},
      {"empty, overlong or not ASCII", with(Key("", 4, U32(1)))},
      {"empty, overlong or not ASCII", with(Key("a\x1b[2J", 4, U32(1)))},
      {"empty, overlong or not ASCII",
       with(Key(std::string(70000, 'k'), 4, U32(1)))},
      {"key 'k' has unknown type 13", with(Key("k", 13, U32(1)))},
      {"key 'k' is an array of unknown type 99",
       with(Key("k", 9, U32(99) + U64(1) + U64(0)))},
      {"array of arrays", with(Key("k", 9, U32(9) + U64(1) + U32(4) + U64(0))),
       StatusCode::kUnsupported},
      {"neither 0 nor 1", with(Key("k", 7, Raw<uint8_t>(2)))},
      {"neither 0 nor 1",
       with(Key("k", 9, U32(7) + U64(2) + std::string("\1\xFF", 2)))},
      {"key 'k'", with(Key("k", 8, U64(UINT64_MAX)))},
      {"key 'k'", with(Key("k", 8, U64(1000000) + "abc"))},
      {"strings, more than", with(Key("k", 9, U32(8) + U64(UINT64_MAX)))},
      {"string 1",
       with(Key("k", 9, U32(8) + U64(2) + Str("a") + U64(1 << 30)))},
      {"elements, more than", with(Key("k", 9, U32(4) + U64(1 << 30)))},
      // 2^61 × 8 bytes wraps to 0.
      {"elements, more than",
       with(Key("k", 9, U32(10) + U64(uint64_t{1} << 61)))},
      {"metadata key 3", with(U64(UINT64_MAX))},
      {"general.alignment is 0", with(Key("general.alignment", 4, U32(0)))},
      {"general.alignment is 48", with(Key("general.alignment", 4, U32(48)))},
      {"general.alignment is 4,", with(Key("general.alignment", 4, U32(4)))},
      {"general.alignment",
       with(Key("general.alignment", 10, U64(uint64_t{1} << 63)))},
      {"general.alignment", with(Key("general.alignment", 8, Str("32")))},
      {"general.alignment", with(Key("general.alignment", 5, U32(~0u)))},
  });
}

TEST_CASE("a lying tensor table is refused") {
  CheckLies({
      {"'a' occurs twice",
       [](RawGguf& r) { r.tensors[1].name = r.tensors[0].name; }},
      {"empty, overlong or not ASCII",
       [](RawGguf& r) { r.tensors[0].name.clear(); }},
      {"empty, overlong or not ASCII",
       [](RawGguf& r) { r.tensors[0].name = "a\n"; }},
      {"0 dimensions", [](RawGguf& r) { r.tensors[0].dims = {}; }},
      {"5 dimensions",
       [](RawGguf& r) {
         r.tensors[0].dims = {4, 2, 1, 1, 1};
       }},
      {"4294967295 dimensions",
       [](RawGguf& r) { r.tensors[0].claimed_dim_count = 0xFFFFFFFF; }},
      {"'a' has a dimension of 0",
       [](RawGguf& r) {
         r.tensors[0].dims = {4, 0};
       }},
      {"more elements than 64 bits",
       [](RawGguf& r) {
         r.tensors[0].dims = {uint64_t{1} << 32, uint64_t{1} << 32};
       }},
      {"more bytes than 64 bits",
       [](RawGguf& r) { r.tensors[0].dims = {uint64_t{1} << 62}; }},
      {"has type 16 (iq2_xxs)", [](RawGguf& r) { r.tensors[0].type = 16; },
       StatusCode::kUnsupported},
      {"has type 4,", [](RawGguf& r) { r.tensors[0].type = 4; },
       StatusCode::kUnsupported},
      {"has type 4294967295,", [](RawGguf& r) { r.tensors[0].type = ~0u; },
       StatusCode::kUnsupported},
      {"'b' has rows of 33", [](RawGguf& r) { r.tensors[1].dims = {33}; }},
      // The product would be a multiple of the block; the row is not.
      {"'b' has rows of 16",
       [](RawGguf& r) {
         r.tensors[1].dims = {16, 2};
       }},
      {"offset 33, not a multiple",
       [](RawGguf& r) { r.tensors[1].offset = 33; }},
      {"'b' (34 bytes at offset 64) lies beyond",
       [](RawGguf& r) { r.tensors[1].offset = 64; }},
      {"lies beyond", [](RawGguf& r) { r.tensors[1].offset = 1 << 20; }},
      // offset + size wraps to a small number.
      {"lies beyond",
       [](RawGguf& r) { r.tensors[1].offset = UINT64_MAX - 31; }},
      {"lies beyond",
       [](RawGguf& r) {
         r.tensors[0].dims = {4, 5};
       }},
      {"lies beyond", [](RawGguf& r) { r.data_bytes = 65; }},
      {"'a' and 'b' overlap", [](RawGguf& r) { r.tensors[1].offset = 0; }},
      {"overlap",
       [](RawGguf& r) {
         r.tensors[0].dims = {4, 4};
       }},
      {"padding before the tensor data",
       [](RawGguf& r) {
         r.tensors[0].name = "abc";  // the table ends off the alignment
         r.alignment = 1;
         r.data_bytes = 0;
       }},
  });
}

TEST_CASE("a file cut short at any byte is refused") {
  const TempDir folder;
  const std::string bytes = RawGguf().Bytes();
  for (size_t size = 0; size < bytes.size(); ++size) {
    CAPTURE(size);
    const Result<GgufFile> file = OpenBytes(folder, bytes.substr(0, size));
    REQUIRE_FALSE(file.ok());
    CHECK(file.status().code() == StatusCode::kCorrupt);
  }
}

TEST_CASE("missing files, folders and devices are refused by name") {
  const TempDir folder;
  const auto missing = GgufFile::Open(folder / "none");
  CHECK(missing.status().code() == StatusCode::kNotFound);
  CHECK(missing.status().message().starts_with(folder / "none"));
  CHECK_FALSE(GgufFile::Open(folder.path()).ok());
  CHECK_FALSE(GgufFile::Open("/dev/null").ok());
}

}  // namespace
}  // namespace dapple
