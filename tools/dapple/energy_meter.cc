#include "energy_meter.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace dapple::tool {
namespace {

bool ReadNumber(const std::string& path, uint64_t* number) {
  std::ifstream file(path);
  return static_cast<bool>(file >> *number);
}

}  // namespace

EnergyMeter::EnergyMeter(const std::string& folder) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    // Packages are "intel-rapl:0"; their parts, "intel-rapl:0:1", are in them.
    const std::string name = entry.path().filename().string();
    if (name.find("rapl:") == std::string::npos ||
        std::count(name.begin(), name.end(), ':') != 1)
      continue;
    Zone zone;
    zone.folder = entry.path().string();
    if (!ReadNumber(zone.folder + "/energy_uj", &zone.start)) continue;
    ReadNumber(zone.folder + "/max_energy_range_uj", &zone.range);
    zones_.push_back(std::move(zone));
  }
}

double EnergyMeter::Joules() const {
  if (zones_.empty()) return -1;
  double total = 0;
  for (const Zone& zone : zones_) {
    uint64_t now = 0;
    if (!ReadNumber(zone.folder + "/energy_uj", &now)) return -1;
    const uint64_t used =
        now >= zone.start ? now - zone.start : now + zone.range - zone.start;
    total += static_cast<double>(used) * 1e-6;
  }
  return total;
}

}  // namespace dapple::tool
