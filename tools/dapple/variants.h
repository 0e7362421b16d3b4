// The policies and budgets that one run compares.
#ifndef DAPPLE_TOOLS_VARIANTS_H_
#define DAPPLE_TOOLS_VARIANTS_H_

#include <string>
#include <vector>

#include "dapple/eviction.h"
#include "dapple/status.h"

namespace dapple::tool {

// Each policy ("all": every one there is) with each budget; "full" once,
// whatever the budgets. The other options of all are `base`'s.
Result<std::vector<EvictionOptions>> ParseVariants(
    std::vector<std::string> policies, const std::vector<std::string>& keeps,
    const EvictionOptions& base);

// "256", "3%"; "all" for the policy that keeps everything.
std::string KeepName(const EvictionOptions& options);

// What must be said wherever figures of this model are shown; "" for most.
std::string ModelNote(const std::string& model_name);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_VARIANTS_H_
