#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "dapple/quantize.h"
#include "gguf/gguf_file.h"
#include "gguf/gguf_writer.h"
#include "gguf/importance_matrix.h"
#include "gguf/quantize.h"
#include "gguf/tensor_mix.h"
#include "test_files.h"

namespace dapple {
namespace {

using namespace testing;

struct Shape {
  const char* name;
  std::vector<uint64_t> dims;
  TensorType type = TensorType::kF32;
};

// A file of random tensors, with a key of every kind.
std::string WriteModel(const std::string& path,
                       const std::vector<Shape>& shapes) {
  GgufWriter writer = std::move(GgufWriter::Create(path)).value();
  writer.AddString("general.architecture", "llama");
  writer.AddUint32("general.file_type", 0);
  writer.AddUint32("llama.block_count", 8);
  writer.AddFloat32("f", 0.1f);
  writer.AddBool("b", true);
  const std::vector<std::string> strings = {"", "x", "yy"};
  writer.AddStrings("ss", strings);
  const std::vector<int32_t> ints = {-1, 1 << 30};
  writer.AddInts("ii", ints);
  for (const Shape& shape : shapes)
    writer.AddTensor(shape.name, shape.type, shape.dims);
  REQUIRE(writer.BeginData().ok());
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  for (const Shape& shape : shapes) {
    size_t count = 1;
    for (const uint64_t dim : shape.dims) count *= dim;
    std::vector<float> values(count);
    for (float& value : values) value = normal(random);
    std::vector<std::byte> bytes(RowBytes(shape.type, count));
    REQUIRE(EncodeRow(shape.type, values, bytes));
    REQUIRE(writer.Append(bytes).ok());
  }
  REQUIRE(writer.Finish().ok());
  return path;
}

const std::vector<Shape> kModel = {
    {"token_embd.weight", {256, 40}},
    {"output_norm.weight", {256}},
    {"output.weight", {256, 40}},
    {"blk.0.attn_v.weight", {256, 30}, TensorType::kBF16},
    {"blk.1.attn_v.weight", {256, 30}, TensorType::kF16},
    {"blk.1.ffn_down.weight", {96, 256}, TensorType::kQ8_0},
    {"blk.1.ffn_up.weight", {256, 96}},
    {"blk.1.attn_norm.weight", {256}},
    {"blk.7.ffn_down.weight", {250, 12}},
};

QuantizeOptions Options(const std::string& in, const std::string& out,
                        const std::string& type) {
  QuantizeOptions options;
  options.input_path = in;
  options.output_path = out;
  options.type = type;
  options.threads = 2;
  return options;
}

std::vector<float> Values(const GgufTensor& tensor) {
  std::vector<float> values(tensor.elements());
  DecodeRow(tensor.type, tensor.data, values);
  return values;
}

TEST_CASE("quantizing keeps metadata and vectors and mixes types by role") {
  const TempDir folder;
  const std::string in = WriteModel(folder / "in.gguf", kModel);
  const std::string out = folder / "out.gguf";
  const auto result = Quantize(Options(in, out, "q4_k_m"));
  REQUIRE_MESSAGE(result.ok(), result.status().message());
  CHECK(result->tensors == kModel.size());
  CHECK(result->fallbacks == 2);
  CHECK(result->output_bytes == std::filesystem::file_size(out));
  const GgufFile before = std::move(GgufFile::Open(in)).value();
  const GgufFile after = std::move(GgufFile::Open(out)).value();
  for (const auto& [key, value] : before.metadata()) {
    CAPTURE(key);
    const GgufValue* kept = after.Find(key);
    REQUIRE(kept != nullptr);
    if (key == "general.file_type") continue;
    CHECK(kept->type == value.type);
    CHECK(kept->element_type == value.element_type);
    CHECK(kept->count == value.count);
    CHECK(std::ranges::equal(kept->bytes, value.bytes));
  }
  CHECK(after.Uint("general.file_type").value() == 15);
  CHECK(after.metadata().size() == before.metadata().size() + 1);
  const TensorType types[] = {TensorType::kQ4_K,  // not tied: no logits
                              TensorType::kF32,  TensorType::kQ6_K,  // logits
                              TensorType::kQ6_K,  // value of the first eighth
                              TensorType::kQ4_K,  // value between
                              TensorType::kQ5_0,  // rows of 96
                              TensorType::kQ4_K, TensorType::kF32,
                              TensorType::kF16};  // rows of 250
  for (size_t i = 0; i < kModel.size(); ++i) {
    const GgufTensor& tensor = after.tensors()[i];
    CAPTURE(tensor.name);
    CHECK(tensor.name == kModel[i].name);
    CHECK(tensor.type == types[i]);
    const auto want = Values(before.tensors()[i]);
    const auto got = Values(tensor);
    double error = 0, size = 0;
    for (size_t j = 0; j < want.size(); ++j) {
      error += (want[j] - got[j]) * (want[j] - got[j]);
      size += want[j] * want[j];
    }
    CHECK(std::sqrt(error / size) < 0.09);
    if (tensor.dim_count == 1) CHECK(want == got);
  }
}

TEST_CASE("every type quantizes, with any number of threads the same") {
  const TempDir folder;
  const std::string in = WriteModel(folder / "in.gguf", kModel);
  for (const std::string& type : QuantizeTypes()) {
    CAPTURE(type);
    auto options = Options(in, folder / "a.gguf", type);
    REQUIRE(Quantize(options).ok());
    options.threads = 1;
    options.output_path = folder / "b.gguf";
    REQUIRE(Quantize(options).ok());
    CHECK(ReadBytes(folder / "a.gguf") == ReadBytes(folder / "b.gguf"));
    options.pure = true;
    REQUIRE(Quantize(options).ok());
    const GgufFile pure = std::move(GgufFile::Open(folder / "b.gguf")).value();
    CHECK(pure.FindTensor("output.weight")->type ==
          TensorMix::Find(type)->type);
  }
}

TEST_CASE("a tied embedding is kept good for the logits") {
  const TempDir folder;
  const std::string in = WriteModel(
      folder / "in.gguf",
      {{"token_embd.weight", {256, 4}}, {"blk.0.ffn_up.weight", {256, 4}}});
  REQUIRE(Quantize(Options(in, folder / "out.gguf", "q4_0")).ok());
  const GgufFile out = std::move(GgufFile::Open(folder / "out.gguf")).value();
  CHECK(out.tensors()[0].type == TensorType::kQ6_K);
  CHECK(out.tensors()[1].type == TensorType::kQ4_0);
}

// An importance matrix of the older kind.
std::string OldMatrix(
    const std::vector<std::pair<std::string, std::vector<float>>>& entries) {
  std::string bytes = U32(static_cast<uint32_t>(entries.size()));
  for (const auto& [name, values] : entries) {
    bytes += U32(static_cast<uint32_t>(name.size())) + name + U32(3) +
             U32(static_cast<uint32_t>(values.size()));
    for (const float value : values) bytes += Raw(value);
  }
  return bytes + U32(7) + U32(4) + "text";
}

TEST_CASE("importances of both kinds of file are found and change the result") {
  const TempDir folder;
  const std::string in = WriteModel(folder / "in.gguf", kModel);
  std::vector<float> weights(256, 0.01f);
  weights[5] = 50.0f;
  WriteBytes(folder / "old.dat", OldMatrix({{"blk.1.ffn_up.weight", weights}}));
  {
    GgufWriter writer =
        std::move(GgufWriter::Create(folder / "new.gguf")).value();
    writer.AddString("general.type", "imatrix");
    const uint64_t dims[] = {256, 1};
    const uint64_t one[] = {1, 1};
    writer.AddTensor("blk.1.ffn_up.weight.in_sum2", TensorType::kF32, dims);
    writer.AddTensor("blk.1.ffn_up.weight.counts", TensorType::kF32, one);
    REQUIRE(writer.BeginData().ok());
    std::vector<float> sums = weights;
    for (float& sum : sums) sum *= 4.0f;
    const float count = 4.0f;
    REQUIRE(writer.Append(std::as_bytes(std::span(sums))).ok());
    REQUIRE(writer.Append(std::as_bytes(std::span(&count, 1))).ok());
    REQUIRE(writer.Finish().ok());
  }
  auto options = Options(in, folder / "plain.gguf", "q4_k_s");
  REQUIRE(Quantize(options).ok());
  options.importance_path = folder / "old.dat";
  options.output_path = folder / "a.gguf";
  REQUIRE(Quantize(options).ok());
  options.importance_path = folder / "new.gguf";
  options.output_path = folder / "b.gguf";
  REQUIRE(Quantize(options).ok());
  CHECK(ReadBytes(folder / "a.gguf") == ReadBytes(folder / "b.gguf"));
  const auto error_at = [&](const std::string& path, size_t column) {
    const GgufFile before = std::move(GgufFile::Open(in)).value();
    const GgufFile after = std::move(GgufFile::Open(path)).value();
    const auto want = Values(*before.FindTensor("blk.1.ffn_up.weight"));
    const auto got = Values(*after.FindTensor("blk.1.ffn_up.weight"));
    double error = 0;
    for (size_t i = column; i < want.size(); i += 256)
      error += (want[i] - got[i]) * (want[i] - got[i]);
    return error;
  };
  CHECK(error_at(folder / "a.gguf", 5) <
        0.5 * error_at(folder / "plain.gguf", 5));
}

TEST_CASE("importance files that lie are refused") {
  const TempDir folder;
  const std::string path = folder / "x.dat";
  const std::string good = OldMatrix({{"a", {1.0f, 2.0f}}, {"b", {3.0f}}});
  WriteBytes(path, good);
  const auto read = ImportanceMatrix::Read(path);
  REQUIRE(read.ok());
  CHECK(read->size() == 2);
  CHECK(read->Find("a").size() == 2);
  CHECK(read->Find("c").empty());
  for (size_t cut = 1; cut < good.size() - 12; ++cut) {
    WriteBytes(path, good.substr(0, cut));
    CHECK(ImportanceMatrix::Read(path).status().code() == StatusCode::kCorrupt);
  }
  for (const std::string& bad :
       {OldMatrix({{"a", {-1.0f}}}), OldMatrix({{"a", {std::nanf("")}}}),
        OldMatrix({{"a", {1.0f}}, {"a", {1.0f}}}), OldMatrix({}),
        U32(1) + U32(1) + "a" + U32(1) + U32(0x7FFFFFFF) + U32(0),
        U32(0xFFFFFFFF) + good}) {
    WriteBytes(path, bad);
    CHECK(ImportanceMatrix::Read(path).status().code() == StatusCode::kCorrupt);
  }
}

TEST_CASE("what cannot be quantized is refused and leaves nothing behind") {
  const TempDir folder;
  const std::string in = WriteModel(folder / "in.gguf", kModel);
  const std::string out = folder / "out.gguf";
  const auto refused = [&](const QuantizeOptions& options,
                           const std::string& says) {
    const Status status = Quantize(options).status();
    CAPTURE(status.message());
    CHECK_FALSE(status.ok());
    CHECK(status.message().find(says) != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(out));
  };
  refused(Options(in, out, "q9_z"), "q9_z");
  refused(Options(folder / "no.gguf", out, "q8_0"), "no.gguf");
  refused(Options(in, in, "q8_0"), "is the input itself");
  std::filesystem::create_symlink(in, folder / "link.gguf");
  refused(Options(in, folder / "link.gguf", "q8_0"), "is the input itself");
  const std::string already =
      WriteModel(folder / "q4.gguf",
                 {{"blk.0.ffn_up.weight", {256, 4}, TensorType::kQ4_0}});
  refused(Options(already, out, "q8_0"), "q4_0 already");
  auto options = Options(in, out, "q4_k_m");
  WriteBytes(folder / "x.dat",
             OldMatrix({{"blk.1.ffn_up.weight", {1.0f, 2.0f}}}));
  options.importance_path = folder / "x.dat";
  refused(options, "of another model?");
  WriteBytes(folder / "x.dat", OldMatrix({{"other", {1.0f}}}));
  refused(options, "knows no matrix");
  options.importance_path = "";
  options.progress = [](const QuantizeProgress& progress) {
    return progress.bytes_done < 30000;
  };
  refused(options, "cancelled");
  // A value that f16 scales cannot hold.
  options = Options(folder / "huge.gguf", out, "q4_0");
  {
    GgufWriter writer =
        std::move(GgufWriter::Create(options.input_path)).value();
    const uint64_t dims[] = {32, 2};
    writer.AddTensor("blk.0.ffn_up.weight", TensorType::kF32, dims);
    REQUIRE(writer.BeginData().ok());
    const std::vector<float> values(64, 1e30f);
    REQUIRE(writer.Append(std::as_bytes(std::span(values))).ok());
    REQUIRE(writer.Finish().ok());
  }
  refused(options, "too large");
}

}  // namespace
}  // namespace dapple
