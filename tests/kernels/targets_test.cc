#include "kernels/targets.h"

#include <cctype>
#include <string>

#include "kernel_test.h"

namespace dapple::kernels {
namespace {

TEST_CASE("every supported target can be forced, found by name and undone") {
  const int64_t best = ActiveTarget();
  CHECK(best == SupportedTargets().front());
  std::string names;
  for (int64_t target : SupportedTargets()) {
    names += TargetName(target) + " ";
    std::string lower = TargetName(target);
    for (char& c : lower) c = static_cast<char>(std::tolower(c));
    CHECK(FindTarget(lower) == target);
    CHECK(FindTarget(TargetName(target)) == target);
    ForceTarget(target);
    CHECK(ActiveTarget() == target);
    // The list does not shrink to what is forced.
    CHECK(SupportedTargets().front() == best);
  }
  ForceTarget(0);
  CHECK(ActiveTarget() == best);
  MESSAGE("targets: " << names);
}

TEST_CASE("an unknown target name is 0") {
  CHECK(FindTarget("") == 0);
  CHECK(FindTarget("avx9000") == 0);
}

TEST_CASE("no target is listed twice and no two share a name") {
  const auto targets = SupportedTargets();
  for (size_t i = 0; i < targets.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      CHECK(targets[i] != targets[j]);
      CHECK(TargetName(targets[i]) != TargetName(targets[j]));
    }
}

}  // namespace
}  // namespace dapple::kernels
