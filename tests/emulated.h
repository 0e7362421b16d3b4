// What tests do otherwise on an emulated processor (cross builds, where meson
// sets DAPPLE_EMULATED): a few cases are left out, and counted by tools/check,
// because they measure the emulator or start programs that it does not run;
// a few do less of what takes minutes there. None allows more.
#ifndef DAPPLE_TESTS_EMULATED_H_
#define DAPPLE_TESTS_EMULATED_H_

#include <cstdlib>

namespace dapple::test {

inline bool Emulated() { return std::getenv("DAPPLE_EMULATED") != nullptr; }

}  // namespace dapple::test

#endif  // DAPPLE_TESTS_EMULATED_H_
