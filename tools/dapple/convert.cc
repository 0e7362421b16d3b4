#include "command.h"

namespace dapple::tool {

void AddConvert(CLI::App&, Run&) {}

}  // namespace dapple::tool
