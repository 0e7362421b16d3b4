#include "dapple/convert.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <span>
#include <system_error>
#include <vector>

#include "convert/hf_config.h"
#include "convert/hf_tokenizer.h"
#include "convert/model_keys.h"
#include "convert/random_weights.h"
#include "convert/safetensors.h"
#include "convert/tensor_plan.h"
#include "gguf/gguf_writer.h"
#include "gguf/quantize.h"

namespace dapple {
namespace {

// Rows are encoded into a buffer of about this size between writes.
constexpr size_t kBufferBytes = size_t{1} << 20;

TensorType SourceType(const SafeTensor& tensor) {
  if (tensor.dtype == "F16") return TensorType::kF16;
  return tensor.dtype == "BF16" ? TensorType::kBF16 : TensorType::kF32;
}

std::string ModelName(const ConvertOptions& options, const HfConfig& config) {
  if (!options.name.empty()) return options.name;
  if (!config.name.empty()) return config.name;
  std::error_code error;
  const std::filesystem::path folder =
      std::filesystem::canonical(options.input_dir, error);
  return error ? "model" : folder.filename().string();
}

void AddGeneralKeys(const ConvertOptions& options, const HfConfig& config,
                    TensorType type, GgufWriter* writer) {
  writer->AddString("general.architecture", config.architecture->name);
  writer->AddString("general.type", "model");
  writer->AddString("general.name", ModelName(options, config));
  if (!options.license.empty())
    writer->AddString("general.license", options.license);
  writer->AddUint32("general.file_type", FileTypeOf(type));
  writer->AddUint32("general.quantization_version", 2);
}

void AddTokenizerKeys(const HfTokenizer& tokenizer, GgufWriter* writer) {
  writer->AddString("tokenizer.ggml.model", tokenizer.model);
  writer->AddString("tokenizer.ggml.pre", tokenizer.pre);
  writer->AddStrings("tokenizer.ggml.tokens", tokenizer.tokens);
  if (!tokenizer.scores.empty())
    writer->AddFloats("tokenizer.ggml.scores", tokenizer.scores);
  if (!tokenizer.merges.empty())
    writer->AddStrings("tokenizer.ggml.merges", tokenizer.merges);
  writer->AddInts("tokenizer.ggml.token_type", tokenizer.types);
  const auto add_id = [writer](const char* key,
                               const std::optional<uint32_t>& id) {
    if (id.has_value()) writer->AddUint32(key, *id);
  };
  add_id("tokenizer.ggml.bos_token_id", tokenizer.bos_id);
  add_id("tokenizer.ggml.eos_token_id", tokenizer.eos_id);
  add_id("tokenizer.ggml.eot_token_id", tokenizer.eot_id);
  add_id("tokenizer.ggml.eom_token_id", tokenizer.eom_id);
  add_id("tokenizer.ggml.unknown_token_id", tokenizer.unk_id);
  add_id("tokenizer.ggml.padding_token_id", tokenizer.pad_id);
  writer->AddBool("tokenizer.ggml.add_bos_token", tokenizer.add_bos);
  writer->AddBool("tokenizer.ggml.add_eos_token", tokenizer.add_eos);
  writer->AddBool("tokenizer.ggml.add_space_prefix",
                  tokenizer.add_space_prefix);
  // GGUF has no keys for these; other readers ignore ours.
  if (!tokenizer.lstrip.empty())
    writer->AddInts("dapple.tokenizer.lstrip", tokenizer.lstrip);
  if (!tokenizer.rstrip.empty())
    writer->AddInts("dapple.tokenizer.rstrip", tokenizer.rstrip);
  if (!tokenizer.chat_template.empty())
    writer->AddString("tokenizer.chat_template", tokenizer.chat_template);
}

// Encodes the planned tensors one after another.
class TensorCopier {
 public:
  TensorCopier(const ConvertOptions& options, const TensorPlan& plan,
               GgufWriter* writer)
      : options_(options), plan_(plan), writer_(*writer) {
    progress_.tensors_total = plan.tensors.size();
    progress_.bytes_total = plan.bytes;
  }

  Status CopyAll() {
    for (const PlannedTensor& tensor : plan_.tensors) {
      progress_.tensor = tensor.name;
      DAPPLE_RETURN_IF_ERROR(Copy(tensor));
      ++progress_.tensors_done;
    }
    return Report();
  }

 private:
  Status Copy(const PlannedTensor& tensor) {
    const size_t columns = static_cast<size_t>(tensor.columns());
    const size_t row_bytes = RowBytes(tensor.type, columns);
    const uint64_t batch = std::max<uint64_t>(kBufferBytes / row_bytes, 1);
    row_.resize(columns);
    random_.emplace(tensor.name);
    for (uint64_t first = 0; first < tensor.rows(); first += batch) {
      const uint64_t count = std::min(batch, tensor.rows() - first);
      buffer_.resize(static_cast<size_t>(count) * row_bytes);
      std::span<std::byte> out(buffer_);
      for (uint64_t i = 0; i < count; ++i, out = out.subspan(row_bytes)) {
        LoadRow(tensor, first + i);
        if (!EncodeRow(tensor.type, row_, out.first(row_bytes)))
          return BadValue(tensor);
      }
      DAPPLE_RETURN_IF_ERROR(writer_.Append(buffer_));
      progress_.bytes_done += buffer_.size();
      DAPPLE_RETURN_IF_ERROR(Report());
    }
    if (tensor.source.file != nullptr)
      ReleasePages(tensor.source.tensor->data);
    return Status::Ok();
  }

  void LoadRow(const PlannedTensor& tensor, uint64_t row) {
    if (tensor.source.tensor == nullptr) {
      if (tensor.values.empty())
        random_->Fill(tensor.spread, tensor.offset, row_);
      else
        std::copy(tensor.values.begin(), tensor.values.end(), row_.begin());
      return;
    }
    const SafeTensor& source = *tensor.source.tensor;
    const TensorType type = SourceType(source);
    const size_t bytes = RowBytes(type, row_.size());
    const size_t at = static_cast<size_t>(tensor.SourceRow(row)) * bytes;
    DecodeRow(type, source.data.subspan(at, bytes), row_);
    if (tensor.offset != 0 || tensor.factor != 1)
      for (float& value : row_) value = (value + tensor.offset) * tensor.factor;
  }

  Status BadValue(const PlannedTensor& tensor) const {
    if (tensor.source.tensor == nullptr)
      return Internal("tensor " + tensor.name + " has bad computed values");
    const std::string where = tensor.source.file->path() + ": tensor '" +
                              tensor.source.tensor->name + "'";
    for (const float value : row_)
      if (!std::isfinite(value))
        return Corrupt(where + " holds a value that is not finite");
    return Unsupported(where + " holds values too large for " +
                       std::string(InfoOf(tensor.type).name) +
                       ": convert to f32");
  }

  Status Report() const {
    if (options_.progress && !options_.progress(progress_))
      return Cancelled(options_.output_path + ": conversion cancelled");
    return Status::Ok();
  }

  const ConvertOptions& options_;
  const TensorPlan& plan_;
  GgufWriter& writer_;
  ConvertProgress progress_;
  std::optional<RandomValues> random_;  // of the tensor at work
  std::vector<float> row_;              // [columns]
  std::vector<std::byte> buffer_;       // encoded rows
};

}  // namespace

Result<ConvertResult> Convert(const ConvertOptions& options) {
  const TensorTypeInfo* type = FindTensorType(options.type);
  if (type == nullptr)
    return InvalidArgument("unknown type '" + options.type + "' (" +
                           TensorTypeNames() + " exist)");
  std::error_code error;
  const bool folder = std::filesystem::is_directory(options.input_dir, error);
  if (!folder && !std::filesystem::exists(options.input_dir, error))
    return NotFound(options.input_dir + ": no such directory");
  if (!folder && !options.random_weights)
    return InvalidArgument(options.input_dir + ": not a directory");
  const std::string config_path =
      folder ? options.input_dir + "/config.json" : options.input_dir;
  std::vector<std::string> notes;
  DAPPLE_ASSIGN_OR_RETURN(const HfConfig config, HfConfig::Read(config_path));
  Checkpoint checkpoint;
  if (options.random_weights) {
    DAPPLE_RETURN_IF_ERROR(CheckRandomSizes(config, config_path));
  } else {
    DAPPLE_ASSIGN_OR_RETURN(checkpoint, Checkpoint::Open(options.input_dir));
  }
  // The plan comes before the vocabulary: it ties vocab_size to real bytes.
  DAPPLE_ASSIGN_OR_RETURN(
      const TensorPlan plan,
      TensorPlan::Make(config, options.random_weights ? nullptr : &checkpoint,
                       options.input_dir, type->type, &notes));
  HfTokenizer tokenizer;
  if (options.random_weights) {
    tokenizer = RandomTokenizer(config.vocab_size);
  } else {
    DAPPLE_ASSIGN_OR_RETURN(tokenizer,
                            HfTokenizer::Read(options.input_dir, config));
  }
  notes.insert(notes.end(), tokenizer.notes.begin(), tokenizer.notes.end());
  if (options.note)
    for (const std::string& note : notes) options.note(note);

  DAPPLE_ASSIGN_OR_RETURN(GgufWriter writer,
                          GgufWriter::Create(options.output_path));
  AddGeneralKeys(options, config, type->type, &writer);
  AddModelKeys(config, &writer);
  AddTokenizerKeys(tokenizer, &writer);
  for (const PlannedTensor& tensor : plan.tensors)
    writer.AddTensor(tensor.name, tensor.type, tensor.dims);
  DAPPLE_RETURN_IF_ERROR(writer.BeginData());
  DAPPLE_RETURN_IF_ERROR(TensorCopier(options, plan, &writer).CopyAll());
  DAPPLE_RETURN_IF_ERROR(writer.Finish());
  return ConvertResult{writer.file_size(), plan.tensors.size(),
                       plan.parameters};
}

}  // namespace dapple
