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
constexpr double kLocalTheta = 500.0;
constexpr double kLongMagnitude = 1.1875;  // exact in float

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

// What the i-th pair's frequency is divided by.
double LongFactor(size_t i) { return 1.0 + 0.5 * static_cast<double>(i); }
double ShortFactor(size_t i) { return 1.0 + 0.125 * static_cast<double>(i); }

// Rotates pairs of each head's first elements: adjacent ones (GGUF's llama row
// order), or halves.
void Rotate(std::vector<double>* x, const TinyShape& shape, size_t position,
            bool adjacent, double theta) {
  const size_t dims = shape.rotated();
  const bool longrope = shape.original_context != 0;
  const double magnitude = longrope ? kLongMagnitude : 1.0;
  for (size_t base = 0; base < x->size(); base += shape.head_dim) {
    for (size_t i = 0; i < dims; i += 2) {
      const double angle =
          static_cast<double>(position) *
          std::pow(theta, -static_cast<double>(i) / static_cast<double>(dims)) /
          (longrope || shape.rope_factors ? LongFactor(i / 2) : 1.0);
      double& even = (*x)[base + (adjacent ? i : i / 2)];
      double& odd = (*x)[base + (adjacent ? i + 1 : (i + dims) / 2)];
      const double c = std::cos(angle), s = std::sin(angle);
      const double rotated = even * c - odd * s;
      odd = magnitude * (even * s + odd * c);
      even = magnitude * rotated;
    }
  }
}

// Bias, norm and rotation of one token's queries or keys.
void Finish(const std::map<std::string, std::vector<float>>& weights,
            const TinyShape& shape, size_t layer, const std::string& part,
            size_t position, std::vector<double>* x) {
  const std::string name = "blk." + std::to_string(layer) + ".attn_" + part;
  if (shape.Is("qwen2")) {
    const std::vector<float>& bias = weights.at(name + ".bias");
    for (size_t i = 0; i < x->size(); ++i) (*x)[i] += bias[i];
  }
  if (part == "v") return;
  if (shape.qk_norm()) {
    for (size_t at = 0; at < x->size(); at += shape.head_dim) {
      const auto begin = x->begin() + static_cast<long>(at);
      const auto end = begin + static_cast<long>(shape.head_dim);
      const auto normed = Norm({begin, end}, weights.at(name + "_norm.weight"));
      std::copy(normed.begin(), normed.end(), begin);
    }
  }
  if (shape.Is("smollm3") && layer % 4 == 3) return;
  const bool local = shape.Is("gemma3") && shape.WindowOf(layer) != 0;
  Rotate(x, shape, position, shape.Is("llama") || shape.Is("smollm3"),
         local ? kLocalTheta : kThetaBase);
}

double Capped(double x, double cap) {
  return cap == 0 ? x : cap * std::tanh(x / cap);
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
  const auto make_norm = [&](const std::string& name, size_t n) {
    std::uniform_real_distribution<float> around(0.5f, 1.5f);
    std::vector<float>& w = weights_[name];
    w.resize(n);
    for (float& v : w) v = around(random);
  };
  const size_t q = shape.heads * shape.head_dim;
  const size_t kv = shape.kv_heads * shape.head_dim;
  // Name and dimensions in the file, and the weights that follow each other
  // there.
  struct FileTensor {
    std::string name;
    std::vector<uint64_t> dims;
    std::vector<std::string> parts;
  };
  std::vector<FileTensor> tensors;
  const auto matrix = [&](const std::string& name, size_t n, size_t k) {
    make(name, n, k);
    tensors.push_back({name, {k, n}, {name}});
  };
  const auto vector = [&](const std::string& name, size_t n = 0) {
    if (n == 0) n = shape.width;
    make_norm(name, n);
    tensors.push_back({name, {n}, {name}});
  };
  // The last `count` matrices as one.
  const auto fuse = [&](const std::string& name, size_t count) {
    FileTensor fused{name, {shape.width, 0}, {}};
    for (size_t i = tensors.size() - count; i < tensors.size(); ++i) {
      fused.dims[1] += tensors[i].dims[1];
      fused.parts.push_back(tensors[i].name);
    }
    tensors.resize(tensors.size() - count);
    tensors.push_back(fused);
  };
  const auto factors = [&](const std::string& name, double factor(size_t)) {
    std::vector<float>& w = weights_[name];
    for (size_t i = 0; i < shape.rotated() / 2; ++i)
      w.push_back(static_cast<float>(factor(i)));
    tensors.push_back({name, {w.size()}, {name}});
  };
  matrix("token_embd.weight", shape.vocab, shape.width);
  for (size_t i = 0; i < shape.layers; ++i) {
    const std::string base = "blk." + std::to_string(i) + ".";
    vector(base + "attn_norm.weight");
    matrix(base + "attn_q.weight", q, shape.width);
    matrix(base + "attn_k.weight", kv, shape.width);
    matrix(base + "attn_v.weight", kv, shape.width);
    if (shape.Is("phi3")) fuse(base + "attn_qkv.weight", 3);
    matrix(base + "attn_output.weight", shape.width, q);
    if (shape.Is("qwen2")) {
      vector(base + "attn_q.bias", q);
      vector(base + "attn_k.bias", kv);
      vector(base + "attn_v.bias", kv);
    }
    if (shape.qk_norm()) {
      vector(base + "attn_q_norm.weight", shape.head_dim);
      vector(base + "attn_k_norm.weight", shape.head_dim);
    }
    if (shape.gemma()) {
      vector(base + "post_attention_norm.weight");
      vector(base + "post_ffw_norm.weight");
    }
    vector(base + "ffn_norm.weight");
    matrix(base + "ffn_gate.weight", shape.ffn, shape.width);
    matrix(base + "ffn_up.weight", shape.ffn, shape.width);
    if (shape.Is("phi3")) fuse(base + "ffn_up.weight", 2);
    matrix(base + "ffn_down.weight", shape.width, shape.ffn);
  }
  vector("output_norm.weight");
  if (!shape.extra_tensor.empty()) vector(shape.extra_tensor);
  matrix("output.weight", shape.vocab, shape.width);
  if (shape.rope_factors) factors("rope_freqs.weight", LongFactor);
  if (shape.original_context != 0) {
    factors("rope_factors_short.weight", ShortFactor);
    factors("rope_factors_long.weight", LongFactor);
  }

  static int counter = 0;
  path_ = std::filesystem::temp_directory_path() /
          ("dapple-tiny-" + std::to_string(getpid()) + "-" +
           std::to_string(counter++) + ".gguf");
  auto writer = GgufWriter::Create(path_);
  REQUIRE(writer.ok());
  writer->AddString("general.architecture", shape.architecture);
  writer->AddString("general.name", "tiny");
  const auto u32 = [&](const char* key, size_t value) {
    writer->AddUint32(shape.architecture + "." + key,
                      static_cast<uint32_t>(value));
  };
  const auto f32 = [&](const char* key, double value) {
    writer->AddFloat32(shape.architecture + "." + key,
                       static_cast<float>(value));
  };
  u32("context_length", shape.context);
  u32("embedding_length", shape.width);
  u32("block_count", shape.layers);
  u32("feed_forward_length", shape.ffn);
  u32("attention.head_count", shape.heads);
  u32("attention.head_count_kv", shape.kv_heads);
  u32("attention.key_length", shape.head_dim);
  u32("attention.value_length", shape.head_dim);
  u32("rope.dimension_count", shape.rotated());
  f32("attention.layer_norm_rms_epsilon", kEpsilon);
  f32("rope.freq_base", kThetaBase);
  if (shape.Is("gemma3")) f32("rope.freq_base_swa", kLocalTheta);
  if (shape.original_context != 0) {
    u32("rope.scaling.original_context_length", shape.original_context);
    f32("rope.scaling.attn_factor", kLongMagnitude);
  }
  if (shape.window != 0) u32("attention.sliding_window", shape.window);
  if (shape.attention_cap() != 0)
    f32("attn_logit_softcapping", shape.attention_cap());
  if (shape.logit_cap() != 0) f32("final_logit_softcapping", shape.logit_cap());
  for (const auto& [key, value] : shape.extra_numbers) u32(key.c_str(), value);
  for (const auto& [key, value] : shape.extra_texts)
    writer->AddString(shape.architecture + "." + key, value);
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
  for (const FileTensor& tensor : tensors)
    writer->AddTensor(tensor.name, TensorType::kF32, tensor.dims);
  REQUIRE(writer->BeginData().ok());
  for (const FileTensor& tensor : tensors)
    for (const std::string& part : tensor.parts)
      REQUIRE(writer->Append(std::as_bytes(std::span(W(part)))).ok());
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
      x[t][i] = W("token_embd.weight")[static_cast<size_t>(ids[t]) * d + i] *
                (shape_.gemma() ? std::sqrt(static_cast<double>(d)) : 1.0);
  for (size_t layer = 0; layer < shape_.layers; ++layer) {
    const std::string base = "blk." + std::to_string(layer) + ".";
    Rows keys, values, queries;
    for (size_t t = 0; t < ids.size(); ++t) {
      const auto h = Norm(x[t], W(base + "attn_norm.weight"));
      queries.push_back(Apply(W(base + "attn_q.weight"), h, shape_.heads * hd));
      keys.push_back(Apply(W(base + "attn_k.weight"), h, shape_.kv_heads * hd));
      values.push_back(
          Apply(W(base + "attn_v.weight"), h, shape_.kv_heads * hd));
      Finish(weights_, shape_, layer, "q", t, &queries.back());
      Finish(weights_, shape_, layer, "k", t, &keys.back());
      Finish(weights_, shape_, layer, "v", t, &values.back());
    }
    const size_t window = shape_.WindowOf(layer);
    const double cap = shape_.attention_cap();
    if (layers != nullptr)
      layers->push_back({queries, keys, values, window, cap});
    // What a layer adds passes a norm of its own.
    const auto add = [&](std::vector<double> delta, const char* norm,
                         std::vector<double>* row) {
      if (shape_.gemma()) delta = Norm(delta, W(base + norm + ".weight"));
      for (size_t i = 0; i < d; ++i) (*row)[i] += delta[i];
    };
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
          p[j] = Capped(dot / std::sqrt(static_cast<double>(hd)), cap);
          if (window != 0 && t - j >= window) p[j] = -1e300;
          largest = std::max(largest, p[j]);
        }
        for (double& v : p) total += v = std::exp(v - largest);
        for (size_t j = 0; j <= t; ++j)
          for (size_t i = 0; i < hd; ++i)
            mixed[head * hd + i] += p[j] / total * values[j][kv * hd + i];
      }
      add(Apply(W(base + "attn_output.weight"), mixed, d),
          "post_attention_norm", &x[t]);
      const auto h = Norm(x[t], W(base + "ffn_norm.weight"));
      auto gate = Apply(W(base + "ffn_gate.weight"), h, shape_.ffn);
      const auto up = Apply(W(base + "ffn_up.weight"), h, shape_.ffn);
      for (size_t i = 0; i < shape_.ffn; ++i) {
        const double g = gate[i];
        const double gelu =
            g / 2 *
            (1 + std::tanh(0.7978845608028654 * (g + 0.044715 * g * g * g)));
        gate[i] = (shape_.gemma() ? gelu : g / (1.0 + std::exp(-g))) * up[i];
      }
      add(Apply(W(base + "ffn_down.weight"), gate, d), "post_ffw_norm", &x[t]);
    }
  }
  Rows logits;
  for (const auto& row : x) {
    logits.push_back(Apply(W("output.weight"),
                           Norm(row, W("output_norm.weight")), shape_.vocab));
    for (double& logit : logits.back())
      logit = Capped(logit, shape_.logit_cap());
  }
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
