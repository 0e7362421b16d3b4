// TraceFile: the --trace option: a Trace, and the file that gets it.
#ifndef DAPPLE_TOOLS_TRACE_FILE_H_
#define DAPPLE_TOOLS_TRACE_FILE_H_

#include <CLI/App.hpp>
#include <memory>
#include <string>

#include "dapple/trace.h"

namespace dapple::tool {

class TraceFile {
 public:
  void AddTo(CLI::App& command);
  // The trace of this run, made on the first call, which is before anything
  // is planned; nullptr without the option. Fails where no file can be
  // written.
  Result<Trace*> Begin();
  // All that was recorded until now; nothing without the option. Says on
  // stderr when the ring was too short.
  Status Write() const;

 private:
  std::string path_;
  std::unique_ptr<Trace> trace_;
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_TRACE_FILE_H_
