#include "dapple/clock_limits.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "util/cpu_info.h"

namespace dapple {
namespace {

namespace fs = std::filesystem;

// Sanity of what files say; Linux's own limits are far below.
constexpr size_t kMostEntries = 4096;     // of a folder, or processors
constexpr size_t kMostNameBytes = 64;     // of a governor, a zone
constexpr uint64_t kMostKhz = 100000000;  // 100 GHz
constexpr int kMostTrips = 32;
// A maximum this little below the hardware's is a matter of rounding.
constexpr double kRoundingShare = 0.99;

constexpr uint32_t kFlagBits = 0xF;  // of the firmware, now or in the past

// A small file's first line without white space at its ends; "" where there is
// none, or where it is no plain file (a pipe would block).
std::string ReadLine(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return "";
  char bytes[1024];
  struct stat info;
  ssize_t got = 0;
  if (fstat(file, &info) == 0 && S_ISREG(info.st_mode))
    got = read(file, bytes, sizeof(bytes));  // some sensors answer EAGAIN
  close(file);
  // Longer than anything that is meant.
  if (got <= 0 || got == static_cast<ssize_t>(sizeof(bytes))) return "";
  std::string_view line(bytes, static_cast<size_t>(got));
  line = line.substr(0, line.find('\n'));
  while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())))
    line.remove_suffix(1);
  while (!line.empty() &&
         std::isspace(static_cast<unsigned char>(line.front())))
    line.remove_prefix(1);
  return std::string(line);
}

// Governors and zones are named in plain ASCII.
std::string ReadName(const std::string& path) {
  std::string name = ReadLine(path);
  const bool plain = std::ranges::all_of(
      name, [](unsigned char c) { return c >= ' ' && c < 0x7F; });
  if (!plain || name.size() > kMostNameBytes) name.clear();
  return name;
}

template <class T>
std::optional<T> Parsed(std::string_view text, int base = 10) {
  T number{};
  const auto parsed =
      std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
    return std::nullopt;
  return number;
}

uint64_t ReadKhz(const std::string& path) {
  const uint64_t khz = Parsed<uint64_t>(ReadLine(path)).value_or(0);
  return khz > kMostKhz ? 0 : khz;
}

std::optional<double> ReadCelsius(const std::string& path) {
  constexpr int kAbsoluteZero = -273150, kMost = 1000000;  // thousandths
  const auto thousandths = Parsed<int>(ReadLine(path));
  if (!thousandths || *thousandths < kAbsoluteZero || *thousandths > kMost)
    return std::nullopt;
  return *thousandths / 1000.0;
}

// "0 1 2 3" or "0-3,6"; empty when it is anything else.
std::vector<int> ParseProcessors(std::string_view text) {
  std::vector<int> cpus;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(" ,"), text.size());
    const std::string_view part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (part.empty()) continue;
    const size_t dash = part.find('-');
    const auto first = Parsed<int>(part.substr(0, dash));
    const auto last = dash == std::string_view::npos
                          ? first
                          : Parsed<int>(part.substr(dash + 1));
    if (!first || !last || *first < 0 || *last < *first ||
        *last >= static_cast<int>(kMostEntries))
      return {};
    for (int cpu = *first; cpu <= *last; ++cpu) cpus.push_back(cpu);
  }
  std::ranges::sort(cpus);
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

struct Numbered {
  int number;
  std::string folder;
};

// Names in a folder that begin with `prefix`, in no order.
std::vector<std::string> ListNames(const std::string& folder,
                                   std::string_view prefix) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (size_t i = 0;
       !error && entry != fs::directory_iterator() && i < kMostEntries;
       entry.increment(error), ++i) {
    std::string name = entry->path().filename().string();
    if (name.starts_with(prefix)) names.push_back(std::move(name));
  }
  return names;
}

// Entries "PREFIXnumber" of a folder, by number.
std::vector<Numbered> ListNumbered(const std::string& folder,
                                   std::string_view prefix) {
  std::vector<Numbered> found;
  for (const std::string& name : ListNames(folder, prefix)) {
    const auto number =
        Parsed<int>(std::string_view(name).substr(prefix.size()));
    if (number && *number >= 0) found.push_back({*number, folder + "/" + name});
  }
  std::ranges::sort(found, {}, &Numbered::number);
  return found;
}

std::vector<ClockPolicy> ReadPolicies(const std::string& root,
                                      const std::vector<int>& cpus) {
  std::vector<ClockPolicy> policies;
  for (const auto& [number, folder] :
       ListNumbered(root + "/sys/devices/system/cpu/cpufreq", "policy")) {
    ClockPolicy policy;
    policy.number = number;
    policy.cpus = ParseProcessors(ReadLine(folder + "/related_cpus"));
    if (policy.cpus.empty()) policy.cpus = {number};
    policy.governor = ReadName(folder + "/scaling_governor");
    policy.driver = ReadName(folder + "/scaling_driver");
    policy.current_khz = ReadKhz(folder + "/scaling_cur_freq");
    policy.max_khz = ReadKhz(folder + "/scaling_max_freq");
    policy.hardware_max_khz = ReadKhz(folder + "/cpuinfo_max_freq");
    if (policy.governor.empty() && policy.max_khz == 0) continue;
    policy.used = cpus.empty() || std::ranges::any_of(cpus, [&](int cpu) {
                    return std::ranges::binary_search(policy.cpus, cpu);
                  });
    policies.push_back(std::move(policy));
  }
  return policies;
}

std::vector<ThermalZone> ReadZones(const std::string& root) {
  std::vector<ThermalZone> zones;
  for (const auto& [number, folder] :
       ListNumbered(root + "/sys/class/thermal", "thermal_zone")) {
    ThermalZone zone;
    zone.type = ReadName(folder + "/type");
    const auto celsius = ReadCelsius(folder + "/temp");
    if (zone.type.empty() || !celsius) continue;
    zone.celsius = *celsius;
    for (int trip = 0; trip < kMostTrips; ++trip) {
      const std::string base =
          folder + "/trip_point_" + std::to_string(trip) + "_";
      const std::string type = ReadName(base + "type");
      if (type.empty()) break;
      const auto at = ReadCelsius(base + "temp");
      // Trip points that are switched off stand at or below zero.
      if (!at || *at <= 0) continue;
      std::optional<double>* lowest = type == "passive" ? &zone.passive_celsius
                                      : type == "critical"
                                          ? &zone.critical_celsius
                                          : nullptr;
      if (lowest != nullptr) *lowest = std::min(lowest->value_or(*at), *at);
    }
    zones.push_back(std::move(zone));
  }
  return zones;
}

// Fans and backlights cool too, but hold nothing back.
bool SlowsProcessors(const std::string& type) {
  return type == "Processor" || type == "intel_powerclamp" ||
         type.find("cpufreq") != std::string::npos ||
         type.starts_with("thermal-idle");
}

std::vector<CoolingDevice> ReadCooling(const std::string& root) {
  std::vector<CoolingDevice> devices;
  for (const auto& [number, folder] :
       ListNumbered(root + "/sys/class/thermal", "cooling_device")) {
    CoolingDevice device;
    device.type = ReadName(folder + "/type");
    if (!SlowsProcessors(device.type)) continue;
    // intel_powerclamp says -1 while it is idle.
    const auto state = Parsed<uint64_t>(ReadLine(folder + "/cur_state"));
    const auto most = Parsed<uint64_t>(ReadLine(folder + "/max_state"));
    if (!most) continue;
    device.state = std::min(state.value_or(0), *most);
    device.max_state = *most;
    devices.push_back(std::move(device));
  }
  return devices;
}

// The folder's name has carried an address since the Raspberry Pi 5.
std::optional<uint32_t> ReadThrottled(const std::string& root) {
  const std::string platform = root + "/sys/devices/platform";
  std::vector<std::string> folders;
  for (const std::string& name : ListNames(platform, "soc")) {
    folders.push_back(platform + "/" + name);
    folders.push_back(platform + "/" + name + "/" + name + ":firmware");
  }
  std::ranges::sort(folders);
  for (const std::string& folder : folders) {
    std::string text = ReadLine(folder + "/get_throttled");
    if (text.starts_with("0x")) text.erase(0, 2);
    if (const auto flags = Parsed<uint32_t>(text, 16)) return flags;
  }
  return std::nullopt;
}

uint64_t ReadHotEvents(const std::string& root) {
  uint64_t events = 0;
  for (const auto& [number, folder] :
       ListNumbered(root + "/sys/devices/system/cpu", "cpu"))
    for (const char* name : {"core_throttle_count", "package_throttle_count"})
      events += Parsed<uint32_t>(ReadLine(folder + "/thermal_throttle/" + name))
                    .value_or(0);
  return events;
}

// Under these drivers "powersave" is the usual governor, which speeds up under
// load like others.
bool IsSlowGovernor(const ClockPolicy& policy) {
  return policy.governor == "powersave" && policy.driver != "intel_pstate" &&
         policy.driver.find("pstate-epp") == std::string::npos &&
         policy.driver.find("pstate_epp") == std::string::npos;
}

bool IsBelowHardware(const ClockPolicy& policy) {
  return policy.max_khz != 0 &&
         static_cast<double>(policy.max_khz) <
             kRoundingShare * static_cast<double>(policy.hardware_max_khz);
}

void Add(std::string text, std::vector<std::string>* limits) {
  if (std::ranges::find(*limits, text) == limits->end())
    limits->push_back(std::move(text));
}

void AddBinding(const ClockLimits& now, std::vector<std::string>* limits) {
  std::vector<int> slow;
  for (const ClockPolicy& policy : now.policies)
    if (policy.used && IsSlowGovernor(policy))
      slow.insert(slow.end(), policy.cpus.begin(), policy.cpus.end());
  std::ranges::sort(slow);
  if (!slow.empty())
    Add("governor powersave on processors " + ProcessorsText(slow), limits);
  for (const ClockPolicy& policy : now.policies) {
    if (!policy.used || !IsBelowHardware(policy)) continue;
    Add("at most " + std::to_string(policy.max_khz / 1000) + " of " +
            std::to_string(policy.hardware_max_khz / 1000) +
            " MHz on processors " + ProcessorsText(policy.cpus),
        limits);
  }
  if (std::ranges::any_of(now.cooling, [](const CoolingDevice& device) {
        return device.state != 0;
      }))
    Add("slowed down to cool", limits);
  if (now.throttled) {
    const std::string text = ThrottledText(*now.throttled);
    if (!text.empty()) Add("firmware: " + text, limits);
  }
}

}  // namespace

ClockLimits ReadClockLimits(const std::string& root,
                            const std::vector<int>& cpus) {
  ClockLimits limits;
  limits.policies = ReadPolicies(root, cpus);
  limits.zones = ReadZones(root);
  limits.cooling = ReadCooling(root);
  limits.throttled = ReadThrottled(root);
  limits.hot_events = ReadHotEvents(root);
  return limits;
}

ClockLimits ReadClockLimits() { return ReadClockLimits("", UsableCores()); }

std::vector<std::string> BindingLimits(const ClockLimits& now) {
  std::vector<std::string> limits;
  AddBinding(now, &limits);
  return limits;
}

std::vector<std::string> BindingLimits(const ClockLimits& before,
                                       const ClockLimits& after) {
  std::vector<std::string> limits;
  AddBinding(before, &limits);
  AddBinding(after, &limits);
  // What began and ended in between leaves its mark in the past's bits.
  if (before.throttled && after.throttled) {
    const uint32_t past =
        (*after.throttled & ~*before.throttled) >> kThrottledPast;
    const uint32_t now = *before.throttled | *after.throttled;
    const std::string text = ThrottledText(past & ~now);
    if (!text.empty()) Add("firmware: " + text, &limits);
  }
  if (after.hot_events > before.hot_events)
    Add("too hot " + std::to_string(after.hot_events - before.hot_events) +
            " times",
        &limits);
  return limits;
}

std::string ThrottledText(uint32_t flags) {
  constexpr const char* kWords[] = {"under-voltage", "frequency capped",
                                    "throttled", "soft temperature limit"};
  std::string text;
  for (size_t bit = 0; bit < std::size(kWords); ++bit)
    if (((flags & kFlagBits) >> bit & 1) != 0)
      text += (text.empty() ? "" : ", ") + std::string(kWords[bit]);
  return text;
}

std::string ProcessorsText(const std::vector<int>& cpus) {
  std::string text;
  for (size_t i = 0; i < cpus.size();) {
    size_t end = i + 1;
    while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) ++end;
    text += (text.empty() ? "" : ",") + std::to_string(cpus[i]);
    if (end - i > 1) text += "-" + std::to_string(cpus[end - 1]);
    i = end;
  }
  return text;
}

}  // namespace dapple
