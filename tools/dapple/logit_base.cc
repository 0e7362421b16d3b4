#include "logit_base.h"

#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "eval.h"

namespace dapple::tool {
namespace {

constexpr char kMagic[] = "_logits_";
constexpr size_t kMagicBytes = 8;

Status NotThisText(const std::string& path) {
  return InvalidArgument(path + ": its tokens are not those of this text");
}

// ---- Another model ----------------------------------------------------------

class ModelBase : public LogitBase {
 public:
  static Result<std::unique_ptr<LogitBase>> Open(const std::string& path,
                                                 const ModelOptions& model,
                                                 const LogitWindows& windows) {
    auto base = std::make_unique<ModelBase>();
    ModelOptions options = model;
    options.model = path;
    DAPPLE_ASSIGN_OR_RETURN(base->engine_, options.Open());
    base->path_ = path;
    base->first_ = windows.context / 2;
    base->rows_ = windows.rows();
    base->vocab_ = windows.vocab;
    if (base->engine_->vocab() != windows.vocab)
      return InvalidArgument(
          path + ": has " + std::to_string(base->engine_->vocab()) +
          " tokens, the other model " + std::to_string(windows.vocab));
    SessionOptions session;
    session.prompt_tokens = windows.context;
    session.row_logits = true;
    session.beyond_context = model.beyond_context;
    DAPPLE_ASSIGN_OR_RETURN(base->session_, base->engine_->NewSession(session));
    base->file_.reset(std::tmpfile());
    if (base->file_ == nullptr) return base->FileError();
    return std::unique_ptr<LogitBase>(std::move(base));
  }

  std::string name() const override { return engine_->model_name(); }

  Status Begin(size_t /*window*/, const std::vector<TokenId>& prompt) override {
    std::rewind(file_.get());
    bool good = true;
    std::vector<float> line(vocab_);
    PrefillHooks hooks;
    hooks.logits_from = first_;
    hooks.on_logits = [&](size_t first, size_t rows, const float* logits) {
      for (size_t row = 0; row < rows && first + row < first_ + rows_; ++row) {
        const float* from = logits + row * vocab_;
        const double sum = LogSumExp(from, vocab_);
        for (size_t i = 0; i < vocab_; ++i)
          line[i] = static_cast<float>(from[i] - sum);
        good = good && std::fwrite(line.data(), sizeof(float), vocab_,
                                   file_.get()) == vocab_;
      }
    };
    DAPPLE_RETURN_IF_ERROR(session_->Prefill(prompt, hooks));
    if (!good || std::fflush(file_.get()) != 0) return FileError();
    std::rewind(file_.get());
    return Status::Ok();
  }

  Status Next(std::span<float> log_p) override {
    if (std::fread(log_p.data(), sizeof(float), vocab_, file_.get()) != vocab_)
      return FileError();
    return Status::Ok();
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  Status FileError() const {
    return IoError(std::string("temporary file for log probabilities: ") +
                   std::strerror(errno));
  }

  std::string path_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<std::FILE, Close> file_;
  size_t first_ = 0;
  size_t rows_ = 0;
  size_t vocab_ = 0;
};

// ---- A file of log probabilities --------------------------------------------

class FileBase : public LogitBase {
 public:
  static Result<std::unique_ptr<LogitBase>> Open(const std::string& path,
                                                 const LogitWindows& windows) {
    auto base = std::make_unique<FileBase>();
    base->path_ = path;
    base->file_.open(path, std::ios::binary);
    base->file_.seekg(kMagicBytes);
    int32_t context = 0, vocab = 0, count = 0;
    if (!base->Read(&context, 1) || !base->Read(&vocab, 1) ||
        !base->Read(&count, 1))
      return Corrupt(path + ": the file ends inside the header");
    const auto differs = [&](const char* what, int32_t has, size_t wanted) {
      return InvalidArgument(path + ": was made with " + what + " " +
                             std::to_string(has) + ", not " +
                             std::to_string(wanted));
    };
    if (context < 0 || static_cast<size_t>(context) != windows.context)
      return differs("--ctx", context, windows.context);
    if (vocab < 0 || static_cast<size_t>(vocab) != windows.vocab)
      return differs("a vocabulary of", vocab, windows.vocab);
    if (count < 0 || static_cast<size_t>(count) < windows.count)
      return InvalidArgument(path + ": has " + std::to_string(count) +
                             " windows, fewer than " +
                             std::to_string(windows.count) + " (--windows)");
    std::vector<int32_t> tokens(windows.context);
    for (size_t window = 0; window < windows.count; ++window) {
      if (!base->Read(tokens.data(), tokens.size()))
        return Corrupt(path + ": the file ends inside the tokens");
      for (size_t i = 0; i < tokens.size(); ++i)
        if (tokens[i] != windows.ids[window * windows.context + i])
          return NotThisText(path);
    }
    base->file_.seekg(static_cast<std::streamoff>(
        kMagicBytes + 3 * sizeof(int32_t) +
        sizeof(int32_t) * static_cast<uint64_t>(count) * windows.context));
    base->steps_.resize(AlignEven(windows.vocab));
    return std::unique_ptr<LogitBase>(std::move(base));
  }

  std::string name() const override { return path_; }

  Status Begin(size_t, const std::vector<TokenId>&) override {
    return Status::Ok();  // rows follow one another
  }

  Status Next(std::span<float> log_p) override {
    float range[2];  // of a step, and the least log probability
    if (!Read(range, 2) || !Read(steps_.data(), steps_.size()))
      return Corrupt(path_ + ": the file ends inside the log probabilities");
    for (size_t i = 0; i < log_p.size(); ++i)
      // Step 0 is a bound, not a value.
      log_p[i] = steps_[i] == 0
                     ? -std::numeric_limits<float>::infinity()
                     : range[1] + range[0] * static_cast<float>(steps_[i]);
    return Status::Ok();
  }

 private:
  static size_t AlignEven(size_t n) { return (n + 1) / 2 * 2; }

  template <class T>
  bool Read(T* out, size_t count) {
    return static_cast<bool>(
        file_.read(reinterpret_cast<char*>(out),
                   static_cast<std::streamsize>(count * sizeof(T))));
  }

  std::string path_;
  std::ifstream file_;
  std::vector<uint16_t> steps_;  // [vocab, made even]
};

}  // namespace

Result<std::unique_ptr<LogitBase>> LogitBase::Open(
    const std::string& path, const ModelOptions& model,
    const LogitWindows& windows) {
  char magic[kMagicBytes] = {};
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error))
    std::ifstream(path, std::ios::binary).read(magic, sizeof(magic));
  if (std::memcmp(magic, kMagic, kMagicBytes) == 0)
    return FileBase::Open(path, windows);
  return ModelBase::Open(path, model, windows);
}

}  // namespace dapple::tool
