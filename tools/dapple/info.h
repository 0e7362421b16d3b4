// dapple info (see command.h).
#ifndef DAPPLE_TOOLS_INFO_H_
#define DAPPLE_TOOLS_INFO_H_

#include <CLI/App.hpp>

#include "command.h"

namespace dapple::tool {

void AddInfo(CLI::App& root, Run& run);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_INFO_H_
