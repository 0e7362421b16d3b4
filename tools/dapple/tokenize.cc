#include "command.h"

namespace dapple::tool {

void AddTokenize(CLI::App&, Run&) {}

}  // namespace dapple::tool
