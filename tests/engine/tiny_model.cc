#include "tiny_model.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <span>

#include "gguf/gguf_writer.h"

namespace dapple::test {
namespace {

constexpr double kEpsilon = 1e-5;
constexpr double kThetaBase = 10000.0;

using Rows = std::vector<std::vector<double>>;

// y[n] = W[n, k] x[k]
std::vector<double> Apply(const std::vector<float>& w,
                          const std::vector<double>& x, size_t n) {
  std::vector<double> y(n, 0.0);
  for (size_t r = 0; r < n; ++r)
    for (size_t i = 0; i < x.size(); ++i) y[r] += w[r * x.size() + i] * x[i];
  return y;
}

std::vector<double> Norm(const std::vector<double>& x,
                         const std::vector<float>& weight) {
  double squares = 0;
  for (double v : x) squares += v * v;
  const double scale =
      1.0 / std::sqrt(squares / static_cast<double>(x.size()) + kEpsilon);
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * weight[i];
  return y;
}

// Rotates adjacent pairs of each head (GGUF's llama row order).
void Rotate(std::vector<double>* x, size_t head_dim, size_t position) {
  for (size_t base = 0; base < x->size(); base += head_dim) {
    for (size_t i = 0; i < head_dim; i += 2) {
      const double angle =
          static_cast<double>(position) *
          std::pow(kThetaBase,
                   -static_cast<double>(i) / static_cast<double>(head_dim));
      double& even = (*x)[base + i];
      double& odd = (*x)[base + i + 1];
      const double c = std::cos(angle), s = std::sin(angle);
      const double rotated = even * c - odd * s;
      odd = even * s + odd * c;
      even = rotated;
    }
  }
}

}  // namespace

TinyModel::TinyModel(const TinyShape& shape, uint32_t seed) : shape_(shape) {
  std::mt19937 random(seed);
  const auto make = [&](const std::string& name, size_t n, size_t k) {
    std::normal_distribution<float> normal(
        0.0f, 1.0f / std::sqrt(static_cast<float>(k)));
    std::vector<float>& w = weights_[name];
    w.resize(n * k);
    for (float& v : w) v = normal(random);
  };
  const auto make_norm = [&](const std::string& name) {
    std::uniform_real_distribution<float> around(0.5f, 1.5f);
    std::vector<float>& w = weights_[name];
    w.resize(shape.width);
    for (float& v : w) v = around(random);
  };
  const size_t q = shape.heads * shape.head_dim;
  const size_t kv = shape.kv_heads * shape.head_dim;
  std::vector<std::pair<std::string, std::vector<uint64_t>>> tensors;
  const auto matrix = [&](const std::string& name, size_t n, size_t k) {
    make(name, n, k);
    tensors.push_back({name, {k, n}});
  };
  const auto vector = [&](const std::string& name) {
    make_norm(name);
    tensors.push_back({name, {shape.width}});
  };
  matrix("token_embd.weight", shape.vocab, shape.width);
  for (size_t i = 0; i < shape.layers; ++i) {
    const std::string base = "blk." + std::to_string(i) + ".";
    vector(base + "attn_norm.weight");
    matrix(base + "attn_q.weight", q, shape.width);
    matrix(base + "attn_k.weight", kv, shape.width);
    matrix(base + "attn_v.weight", kv, shape.width);
    matrix(base + "attn_output.weight", shape.width, q);
    vector(base + "ffn_norm.weight");
    matrix(base + "ffn_gate.weight", shape.ffn, shape.width);
    matrix(base + "ffn_up.weight", shape.ffn, shape.width);
    matrix(base + "ffn_down.weight", shape.width, shape.ffn);
  }
  vector("output_norm.weight");
  matrix("output.weight", shape.vocab, shape.width);

  static int counter = 0;
  path_ = std::filesystem::temp_directory_path() /
          ("dapple-tiny-" + std::to_string(getpid()) + "-" +
           std::to_string(counter++) + ".gguf");
  auto writer = GgufWriter::Create(path_);
  REQUIRE(writer.ok());
  writer->AddString("general.architecture", "llama");
  writer->AddString("general.name", "tiny");
  const auto u32 = [&](const char* key, size_t value) {
    writer->AddUint32(std::string("llama.") + key,
                      static_cast<uint32_t>(value));
  };
  u32("context_length", shape.context);
  u32("embedding_length", shape.width);
  u32("block_count", shape.layers);
  u32("feed_forward_length", shape.ffn);
  u32("attention.head_count", shape.heads);
  u32("attention.head_count_kv", shape.kv_heads);
  u32("attention.key_length", shape.head_dim);
  u32("attention.value_length", shape.head_dim);
  u32("rope.dimension_count", shape.head_dim);
  writer->AddFloat32("llama.attention.layer_norm_rms_epsilon",
                     static_cast<float>(kEpsilon));
  writer->AddFloat32("llama.rope.freq_base", static_cast<float>(kThetaBase));
  // A vocabulary of byte tokens is enough to be valid.
  std::vector<std::string> pieces{"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types{2, 3, 3};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    pieces.push_back(name);
    types.push_back(6);
  }
  while (pieces.size() < shape.vocab) {
    pieces.push_back("w" + std::to_string(pieces.size()));
    types.push_back(1);
  }
  const std::vector<float> scores(pieces.size(), 0.0f);
  writer->AddString("tokenizer.ggml.model", "llama");
  writer->AddStrings("tokenizer.ggml.tokens", pieces);
  writer->AddFloats("tokenizer.ggml.scores", scores);
  writer->AddInts("tokenizer.ggml.token_type", types);
  writer->AddUint32("tokenizer.ggml.bos_token_id", 1);
  writer->AddUint32("tokenizer.ggml.eos_token_id", 2);
  writer->AddUint32("tokenizer.ggml.unknown_token_id", 0);
  for (const auto& [name, dims] : tensors)
    writer->AddTensor(name, TensorType::kF32, dims);
  REQUIRE(writer->BeginData().ok());
  for (const auto& [name, dims] : tensors)
    REQUIRE(writer->Append(std::as_bytes(std::span(W(name)))).ok());
  REQUIRE(writer->Finish().ok());
}

TinyModel::~TinyModel() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

std::vector<std::vector<double>> TinyModel::ReferenceLogits(
    const std::vector<TokenId>& ids) const {
  return ReferenceLogits(ids, nullptr);
}

const std::vector<float>& TinyModel::OutputProjection(size_t layer) const {
  return W("blk." + std::to_string(layer) + ".attn_output.weight");
}

std::vector<std::vector<double>> TinyModel::ReferenceLogits(
    const std::vector<TokenId>& ids, std::vector<LayerTrace>* layers) const {
  const size_t d = shape_.width, hd = shape_.head_dim;
  const size_t group = shape_.heads / shape_.kv_heads;
  Rows x(ids.size(), std::vector<double>(d));
  for (size_t t = 0; t < ids.size(); ++t)
    for (size_t i = 0; i < d; ++i)
      x[t][i] = W("token_embd.weight")[static_cast<size_t>(ids[t]) * d + i];
  for (size_t layer = 0; layer < shape_.layers; ++layer) {
    const std::string base = "blk." + std::to_string(layer) + ".";
    Rows keys, values, queries;
    for (size_t t = 0; t < ids.size(); ++t) {
      const auto h = Norm(x[t], W(base + "attn_norm.weight"));
      queries.push_back(Apply(W(base + "attn_q.weight"), h, shape_.heads * hd));
      keys.push_back(Apply(W(base + "attn_k.weight"), h, shape_.kv_heads * hd));
      values.push_back(
          Apply(W(base + "attn_v.weight"), h, shape_.kv_heads * hd));
      Rotate(&queries.back(), hd, t);
      Rotate(&keys.back(), hd, t);
    }
    if (layers != nullptr) layers->push_back({queries, keys, values});
    for (size_t t = 0; t < ids.size(); ++t) {
      std::vector<double> mixed(shape_.heads * hd, 0.0);
      for (size_t head = 0; head < shape_.heads; ++head) {
        const size_t kv = head / group;
        std::vector<double> p(t + 1);
        double largest = -1e300, total = 0;
        for (size_t j = 0; j <= t; ++j) {
          double dot = 0;
          for (size_t i = 0; i < hd; ++i)
            dot += queries[t][head * hd + i] * keys[j][kv * hd + i];
          p[j] = dot / std::sqrt(static_cast<double>(hd));
          largest = std::max(largest, p[j]);
        }
        for (double& v : p) total += v = std::exp(v - largest);
        for (size_t j = 0; j <= t; ++j)
          for (size_t i = 0; i < hd; ++i)
            mixed[head * hd + i] += p[j] / total * values[j][kv * hd + i];
      }
      const auto delta = Apply(W(base + "attn_output.weight"), mixed, d);
      for (size_t i = 0; i < d; ++i) x[t][i] += delta[i];
      const auto h = Norm(x[t], W(base + "ffn_norm.weight"));
      auto gate = Apply(W(base + "ffn_gate.weight"), h, shape_.ffn);
      const auto up = Apply(W(base + "ffn_up.weight"), h, shape_.ffn);
      for (size_t i = 0; i < shape_.ffn; ++i)
        gate[i] = gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
      const auto down = Apply(W(base + "ffn_down.weight"), gate, d);
      for (size_t i = 0; i < d; ++i) x[t][i] += down[i];
    }
  }
  Rows logits;
  for (const auto& row : x)
    logits.push_back(Apply(W("output.weight"),
                           Norm(row, W("output_norm.weight")), shape_.vocab));
  return logits;
}

std::vector<TokenId> RandomIds(size_t count, size_t vocab, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> ids(count);
  for (TokenId& id : ids)
    id = static_cast<TokenId>(random() % static_cast<uint32_t>(vocab));
  return ids;
}

}  // namespace dapple::test
