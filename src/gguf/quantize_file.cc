#include <algorithm>
#include <atomic>
#include <filesystem>
#include <optional>
#include <span>
#include <utility>

#include "dapple/quantize.h"
#include "gguf/gguf_file.h"
#include "gguf/gguf_writer.h"
#include "gguf/importance_matrix.h"
#include "gguf/printable.h"
#include "gguf/quantize.h"
#include "gguf/tensor_mix.h"
#include "util/checked.h"
#include "util/mmap_file.h"
#include "util/parallel.h"

namespace dapple {
namespace {

// Encoded bytes between two writes, about.
constexpr size_t kBatchBytes = size_t{1} << 20;
// Rows of one work item, about: enough to be worth handing out.
constexpr size_t kItemElements = 16384;

// Of types that are quantized already, only q8_0 is near enough to the
// original to start from.
bool IsSource(TensorType type) {
  return InfoOf(type).block_elements == 1 || type == TensorType::kQ8_0;
}

class FileQuantizer {
 public:
  FileQuantizer(const QuantizeOptions& options, const TensorMix& mix,
                const GgufFile& file, const ImportanceMatrix* importance)
      : options_(options),
        mix_(mix),
        file_(file),
        importance_(importance),
        parallel_(options.threads) {}

  Result<QuantizeResult> Run() {
    DAPPLE_RETURN_IF_ERROR(Plan());
    DAPPLE_ASSIGN_OR_RETURN(GgufWriter writer,
                            GgufWriter::Create(options_.output_path));
    AddKeys(&writer);
    for (size_t i = 0; i < types_.size(); ++i) {
      const GgufTensor& tensor = file_.tensors()[i];
      writer.AddTensor(tensor.name, types_[i],
                       std::span(tensor.dims, tensor.dim_count));
      progress_.bytes_total += tensor.data.size();
    }
    DAPPLE_RETURN_IF_ERROR(writer.BeginData());
    for (size_t i = 0; i < types_.size(); ++i) {
      const GgufTensor& tensor = file_.tensors()[i];
      progress_.tensor = tensor.name;
      DAPPLE_RETURN_IF_ERROR(Report());
      if (types_[i] == tensor.type)
        DAPPLE_RETURN_IF_ERROR(CopyTensor(tensor, &writer));
      else
        DAPPLE_RETURN_IF_ERROR(EncodeTensor(tensor, types_[i], &writer));
      ReleasePages(tensor.data);
    }
    DAPPLE_RETURN_IF_ERROR(Report());
    DAPPLE_RETURN_IF_ERROR(writer.Finish());
    result_.input_bytes = file_.total_bytes();
    result_.output_bytes = writer.file_size();
    result_.tensors = types_.size();
    return result_;
  }

 private:
  Status Plan() {
    uint64_t layers = 0;
    DAPPLE_ASSIGN_OR_RETURN(const auto architecture,
                            file_.String("general.architecture"));
    if (architecture.has_value()) {
      DAPPLE_ASSIGN_OR_RETURN(
          const auto blocks,
          file_.Uint(std::string(*architecture) + ".block_count"));
      layers = blocks.value_or(0);
    }
    const bool tied = file_.FindTensor("output.weight") == nullptr;
    size_t known = 0;
    size_t matrices = 0;
    for (const GgufTensor& tensor : file_.tensors()) {
      types_.push_back(tensor.type);
      if (!TensorMix::Applies(tensor)) continue;
      ++matrices;
      bool fallback;
      const TensorType type =
          mix_.TypeFor(tensor, layers, tied, options_.pure, &fallback);
      if (type != tensor.type && !IsSource(tensor.type))
        return Unsupported(file_.path() + ": tensor " + Quoted(tensor.name) +
                           " is " + std::string(InfoOf(tensor.type).name) +
                           " already: quantize from the original");
      types_.back() = type;
      result_.fallbacks += fallback;
      const std::span<const float> weights = Importance(tensor);
      if (weights.empty()) continue;
      ++known;
      if (weights.size() != tensor.dims[0] * tensor.dims[2] * tensor.dims[3])
        return InvalidArgument(options_.importance_path + ": has " +
                               std::to_string(weights.size()) + " values for " +
                               Quoted(tensor.name) + ", whose rows have " +
                               std::to_string(tensor.dims[0]) +
                               ": of another model?");
    }
    if (importance_ != nullptr && known == 0)
      return InvalidArgument(options_.importance_path +
                             ": knows no matrix of this model");
    if (options_.note) {
      if (result_.fallbacks != 0)
        options_.note(std::to_string(result_.fallbacks) + " of " +
                      std::to_string(matrices) + " matrices have rows that " +
                      std::string(InfoOf(mix_.type).name) +
                      " does not divide: stored as a nearby type");
      if (importance_ != nullptr)
        options_.note("importances of " + std::to_string(known) + " of " +
                      std::to_string(matrices) + " matrices");
    }
    return Status::Ok();
  }

  std::span<const float> Importance(const GgufTensor& tensor) const {
    return importance_ != nullptr ? importance_->Find(tensor.name)
                                  : std::span<const float>();
  }

  void AddKeys(GgufWriter* writer) const {
    for (const auto& [key, value] : file_.metadata())
      // The writer has an alignment of its own.
      if (key != "general.alignment" && key != "general.file_type" &&
          key != "general.quantization_version" && !key.starts_with("split."))
        writer->AddValue(key, value);
    writer->AddUint32("general.file_type", mix_.file_type);
    writer->AddUint32("general.quantization_version", 2);
  }

  Status CopyTensor(const GgufTensor& tensor, GgufWriter* writer) {
    for (size_t at = 0; at < tensor.data.size(); at += kBatchBytes) {
      const size_t size = std::min(kBatchBytes, tensor.data.size() - at);
      DAPPLE_RETURN_IF_ERROR(writer->Append(tensor.data.subspan(at, size)));
      progress_.bytes_done += size;
    }
    return Status::Ok();
  }

  Status EncodeTensor(const GgufTensor& tensor, TensorType type,
                      GgufWriter* writer) {
    const size_t columns = static_cast<size_t>(tensor.dims[0]);
    const size_t rows = static_cast<size_t>(tensor.elements() / columns);
    const size_t in_bytes = RowBytes(tensor.type, columns);
    const size_t out_bytes = RowBytes(type, columns);
    const size_t item_rows = std::max<size_t>(1, kItemElements / columns);
    const size_t batch = std::min(
        rows, AlignUp(std::max<size_t>(1, kBatchBytes / out_bytes), 1));
    const std::span<const float> importance = Importance(tensor);
    // Rows that share importances: all, but for experts.
    const size_t sharing = static_cast<size_t>(tensor.dims[1]);
    buffer_.resize(batch * out_bytes);
    floats_.resize(static_cast<size_t>(parallel_.threads()) * columns);
    for (size_t first = 0; first < rows; first += batch) {
      const size_t count = std::min(batch, rows - first);
      std::atomic<bool> good = true;
      parallel_.For(CeilDiv(count, item_rows), [&](size_t item, int thread) {
        const std::span<float> row(
            floats_.data() + static_cast<size_t>(thread) * columns, columns);
        const size_t last = std::min(count, (item + 1) * item_rows);
        for (size_t r = item * item_rows; r < last; ++r) {
          DecodeRow(tensor.type,
                    tensor.data.subspan((first + r) * in_bytes, in_bytes), row);
          const std::span<const float> weights =
              importance.empty()
                  ? importance
                  : importance.subspan((first + r) / sharing * columns,
                                       columns);
          if (!EncodeRow(type, row,
                         std::span(buffer_).subspan(r * out_bytes, out_bytes),
                         weights))
            good = false;
        }
      });
      if (!good)
        return Unsupported(file_.path() + ": tensor " + Quoted(tensor.name) +
                           " holds values that " +
                           std::string(InfoOf(type).name) +
                           " cannot (not finite, or too large)");
      DAPPLE_RETURN_IF_ERROR(
          writer->Append(std::span(buffer_).first(count * out_bytes)));
      progress_.bytes_done += count * in_bytes;
      DAPPLE_RETURN_IF_ERROR(Report());
    }
    return Status::Ok();
  }

  Status Report() const {
    if (options_.progress && !options_.progress(progress_))
      return Cancelled(options_.output_path + ": quantization cancelled");
    return Status::Ok();
  }

  const QuantizeOptions& options_;
  const TensorMix& mix_;
  const GgufFile& file_;
  const ImportanceMatrix* importance_;  // may be null
  Parallel parallel_;
  std::vector<TensorType> types_;  // of the output, in file order
  QuantizeProgress progress_;
  QuantizeResult result_;
  std::vector<std::byte> buffer_;  // encoded rows
  std::vector<float> floats_;      // [threads, columns]
};

}  // namespace

const std::vector<std::string>& QuantizeTypes() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const TensorMix& mix : TensorMix::All()) list.emplace_back(mix.name);
    return list;
  }();
  return names;
}

Result<QuantizeResult> Quantize(const QuantizeOptions& options) {
  const TensorMix* mix = TensorMix::Find(options.type);
  if (mix == nullptr) {
    std::string names;
    for (const std::string& name : QuantizeTypes())
      names += (names.empty() ? "" : ", ") + name;
    return InvalidArgument("unknown type '" + options.type + "' (" + names +
                           " exist)");
  }
  if (options.threads < 0 || options.threads > 1024)
    return InvalidArgument("threads must be between 1 and 1024");
  std::error_code error;
  if (std::filesystem::equivalent(options.input_path, options.output_path,
                                  error))
    return InvalidArgument(options.output_path + ": is the input itself");
  DAPPLE_ASSIGN_OR_RETURN(const GgufFile file,
                          GgufFile::Open(options.input_path));
  if (file.tensors().empty())
    return InvalidArgument(options.input_path +
                           ": has no tensors: a vocabulary alone");
  std::optional<ImportanceMatrix> importance;
  if (!options.importance_path.empty()) {
    DAPPLE_ASSIGN_OR_RETURN(importance,
                            ImportanceMatrix::Read(options.importance_path));
  }
  return FileQuantizer(options, *mix, file,
                       importance.has_value() ? &*importance : nullptr)
      .Run();
}

}  // namespace dapple
