#include "trace_file.h"

#include <cstdio>

namespace dapple::tool {

void TraceFile::AddTo(CLI::App& command) {
  command
      .add_option("--trace", path_,
                  "write where the time goes to FILE (Chrome trace format)")
      ->type_name("FILE");
}

Result<Trace*> TraceFile::Begin() {
  if (path_.empty() || trace_ != nullptr) return trace_.get();
  DAPPLE_RETURN_IF_ERROR(Trace::CheckPath(path_));
  trace_ = std::make_unique<Trace>();
  return trace_.get();
}

Status TraceFile::Write() const {
  if (trace_ == nullptr) return Status::Ok();
  if (trace_->overwritten() != 0)
    std::fprintf(stderr, "dapple: the trace lacks its %llu oldest spans\n",
                 static_cast<unsigned long long>(trace_->overwritten()));
  return trace_->Write(path_);
}

}  // namespace dapple::tool
