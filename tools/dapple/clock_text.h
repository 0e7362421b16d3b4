// ClockLimits for people and for programs, and what binds during a run.
#ifndef DAPPLE_TOOLS_CLOCK_TEXT_H_
#define DAPPLE_TOOLS_CLOCK_TEXT_H_

#include <nlohmann/json.hpp>
#include <string>

#include "dapple/clock_limits.h"

namespace dapple::tool {

// Lines of `dapple info`.
std::string ClockText(const ClockLimits& limits);
nlohmann::ordered_json ClockJson(const ClockLimits& limits);

// Reads the limits when it is made and once more when it is asked.
class ClockWatch {
 public:
  ClockWatch() : before_(ReadClockLimits()) {}
  // One line on stderr, where something held the processors back.
  void Mention() const;

 private:
  ClockLimits before_;
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_CLOCK_TEXT_H_
