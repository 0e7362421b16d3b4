// The subcommands of the dapple tool: one file each, listed here.
//
// An Add function registers its options on the root parser; when the user
// picked that subcommand, `run` is set to the work to do, whose return value
// is the exit code (ExitCode below).
#ifndef DAPPLE_TOOLS_COMMAND_H_
#define DAPPLE_TOOLS_COMMAND_H_

#include <CLI/App.hpp>
#include <functional>
#include <string>

#include "dapple/status.h"

namespace dapple::tool {

using Run = std::function<int()>;

enum ExitCode {
  kExitOk = 0,
  kExitFailure = 1,  // bad input, I/O error
  kExitUsage = 2,    // the command line makes no sense
  kExitNoFit = 3,    // the plan does not fit the cap
};

void AddInspect(CLI::App& root, Run& run);
void AddConvert(CLI::App& root, Run& run);
void AddTokenize(CLI::App& root, Run& run);

// Prints "dapple: <message>" on stderr; the exit code for this status.
int Fail(const Status& status);

// A file's bytes; "-" reads standard input. Messages name the file.
Result<std::string> ReadFile(const std::string& path);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_COMMAND_H_
