#include "command.h"

namespace dapple::tool {

void AddInspect(CLI::App&, Run&) {}

}  // namespace dapple::tool
