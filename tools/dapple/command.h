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
#include <string_view>

#include "dapple/status.h"

namespace dapple::tool {

using Run = std::function<int()>;

enum ExitCode {
  kExitOk = 0,
  kExitFailure = 1,        // bad input, I/O error
  kExitUsage = 2,          // the command line makes no sense
  kExitDoesNotFit = 3,     // memory, context or disk would not suffice
  kExitInterrupted = 130,  // SIGINT, as shells report it
};

void AddAsk(CLI::App& root, Run& run);
void AddBench(CLI::App& root, Run& run);
void AddConvert(CLI::App& root, Run& run);
void AddEval(CLI::App& root, Run& run);
void AddGenerate(CLI::App& root, Run& run);
void AddInspect(CLI::App& root, Run& run);
void AddModels(CLI::App& root, Run& run);
void AddPlan(CLI::App& root, Run& run);
void AddQuantize(CLI::App& root, Run& run);
void AddSummarize(CLI::App& root, Run& run);
void AddTokenize(CLI::App& root, Run& run);

// Prints "dapple: <message>" on stderr; the exit code for this status.
int Fail(const Status& status);

// A file's bytes; "-" reads standard input. Messages name the file.
Result<std::string> ReadFile(const std::string& path);

// A text file's bytes, without a byte-order mark, line ends as \n. kCorrupt
// with the offset when it is not UTF-8; kInvalidArgument when it is blank.
Result<std::string> ReadText(const std::string& path);

// The model used without -m: $DAPPLE_MODEL, else the embedded one, looked for
// in ../share/dapple/models and in models/ above the program. Empty when there
// is none.
std::string DefaultModelPath();

// Tokens: "8k" is 8,192, "8000" is 8,000; at least 1.
Result<size_t> ParseLength(const std::string& text);

// "43.1 MiB"
std::string HumanBytes(double bytes);
// "12,041"
std::string Grouped(uint64_t number);

// Names come from the file: no control bytes may reach a terminal.
std::string Printable(std::string_view text);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_COMMAND_H_
