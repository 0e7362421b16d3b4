// ClockLimits: what holds the processors' clocks back, as Linux shows it: a
// governor, a maximum below the hardware's, cooling, a weak power supply.
//
// Read from /sys in well below a millisecond a processor; files that are
// missing, cut short or make no sense are passed over.
#ifndef DAPPLE_CLOCK_LIMITS_H_
#define DAPPLE_CLOCK_LIMITS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dapple {

// Processors that share a clock (cpufreq's policy). Frequencies in kHz; 0: not
// known.
struct ClockPolicy {
  int number = 0;
  std::vector<int> cpus;  // ascending
  bool used = false;      // some of them compute
  std::string governor;   // "schedutil"
  std::string driver;     // "intel_pstate"
  uint64_t current_khz = 0;
  uint64_t max_khz = 0;           // that it may run at now
  uint64_t hardware_max_khz = 0;  // that it could
};

struct ThermalZone {
  std::string type;  // "cpu-thermal"
  double celsius = 0;
  // From where on the kernel slows down, or switches off.
  std::optional<double> passive_celsius;
  std::optional<double> critical_celsius;
};

// What cools by slowing processors down.
struct CoolingDevice {
  std::string type;    // "cpufreq-cpu0"
  uint64_t state = 0;  // 0: it does nothing
  uint64_t max_state = 0;
};

inline constexpr int kThrottledPast = 16;

struct ClockLimits {
  std::vector<ClockPolicy> policies;
  std::vector<ThermalZone> zones;
  std::vector<CoolingDevice> cooling;
  // Raspberry Pi's firmware: bits of what holds it back now, and,
  // kThrottledPast higher, of what did before.
  std::optional<uint32_t> throttled;
  // Times that x86 processors were too hot since the system started.
  uint64_t hot_events = 0;
};

// Of this machine; `used` are the policies of the cores that Dapple runs on.
ClockLimits ReadClockLimits();
// From a copy of /sys below `root` (tests); `cpus` compute, all where empty.
ClockLimits ReadClockLimits(const std::string& root,
                            const std::vector<int>& cpus);

// What binds now, a few words each ("governor powersave on processors 0-3");
// nothing where nothing does.
std::vector<std::string> BindingLimits(const ClockLimits& now);
// What bound at the start of a piece of work, at its end, or in between as far
// as counters tell.
std::vector<std::string> BindingLimits(const ClockLimits& before,
                                       const ClockLimits& after);

// Words for the firmware's low four bits, "under-voltage, throttled"; "" for
// none.
std::string ThrottledText(uint32_t flags);
// "0-3,6" for 0, 1, 2, 3, 6.
std::string ProcessorsText(const std::vector<int>& cpus);

}  // namespace dapple

#endif  // DAPPLE_CLOCK_LIMITS_H_
