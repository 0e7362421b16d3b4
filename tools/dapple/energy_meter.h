// EnergyMeter: what the processor's packages have drawn, from the counters
// that Linux shows as powercap zones (RAPL). Reading them takes root on most
// systems, and virtual machines have none.
#ifndef DAPPLE_TOOLS_ENERGY_METER_H_
#define DAPPLE_TOOLS_ENERGY_METER_H_

#include <cstdint>
#include <string>
#include <vector>

namespace dapple::tool {

class EnergyMeter {
 public:
  // Starts counting. `folder` for tests.
  explicit EnergyMeter(const std::string& folder = "/sys/class/powercap");

  // Joules since construction, of all packages; -1 where nothing says. A
  // counter may wrap around once.
  double Joules() const;

 private:
  struct Zone {
    std::string folder;
    uint64_t start = 0;
    uint64_t range = 0;  // where the counter wraps, microjoules
  };
  std::vector<Zone> zones_;
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_ENERGY_METER_H_
