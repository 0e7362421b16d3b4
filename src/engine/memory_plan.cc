#include "dapple/memory_plan.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string_view>

#include "dapple/control_group.h"
#include "dapple/default_cap.h"

namespace dapple {
namespace {

template <class T>
struct Named {
  T value;
  std::string_view name;
};

constexpr Named<Schedule> kSchedules[] = {
    {Schedule::kAuto, "auto"},
    {Schedule::kExact, "exact"},
    {Schedule::kExactQ8, "exact-q8"},
    {Schedule::kExactSpill, "exact-spill"},
    {Schedule::kStreaming, "streaming"}};
constexpr Named<Residency> kResidencies[] = {
    {Residency::kAuto, "auto"},
    {Residency::kResident, "resident"},
    {Residency::kReread, "reread"},
    {Residency::kStreamed, "streamed"}};
constexpr Named<KvPrecision> kPrecisions[] = {{KvPrecision::kAuto, "auto"},
                                              {KvPrecision::kF16, "f16"},
                                              {KvPrecision::kQ8, "q8"},
                                              {KvPrecision::kQ4, "q4"}};

template <class T, size_t kCount>
std::string_view Name(const Named<T> (&table)[kCount], T value) {
  for (const Named<T>& entry : table)
    if (entry.value == value) return entry.name;
  return "";
}

template <class T, size_t kCount>
Result<T> Parse(const Named<T> (&table)[kCount], std::string_view what,
                std::string_view name) {
  std::string names;
  for (const Named<T>& entry : table) {
    if (entry.name == name) return entry.value;
    names += (names.empty() ? "" : ", ") + std::string(entry.name);
  }
  return InvalidArgument("unknown " + std::string(what) + " '" +
                         std::string(name) + "' (" + names + ")");
}

// A "Name:  123 kB" line of a /proc file, in bytes; 0 when absent.
uint64_t KilobyteLine(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (!std::string_view(line).starts_with(name)) continue;
    const size_t digit = line.find_first_of("0123456789");
    uint64_t kilobytes = 0;
    if (digit != std::string::npos)
      std::from_chars(line.data() + digit, line.data() + line.size(),
                      kilobytes);
    return kilobytes * 1024;
  }
  return 0;
}

// The number a control group's file holds; false for "max" or no file.
bool ReadNumber(const std::string& path, uint64_t* number) {
  std::ifstream file(path);
  std::string text;
  if (!(file >> text)) return false;
  const auto parsed =
      std::from_chars(text.data(), text.data() + text.size(), *number);
  return parsed.ec == std::errc();
}

// A "name value" line of memory.stat; 0 when absent.
uint64_t StatLine(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  std::string key;
  uint64_t value = 0;
  while (file >> key >> value)
    if (key == name) return value;
  return 0;
}

// What a control group still allows. Page cache that was not used lately is
// the kernel's to take back.
bool GroupAvailable(const std::string& folder, const char* limit_file,
                    const char* usage_file, const char* cache_line,
                    uint64_t* available) {
  uint64_t limit = 0, usage = 0;
  if (!ReadNumber(folder + "/" + limit_file, &limit) ||
      !ReadNumber(folder + "/" + usage_file, &usage))
    return false;
  const uint64_t cache = StatLine(folder + "/memory.stat", cache_line);
  usage -= std::min(usage, cache);
  *available = limit > usage ? limit - usage : 0;
  return true;
}

}  // namespace

std::string_view NameOf(Schedule schedule) {
  return Name(kSchedules, schedule);
}
std::string_view NameOf(Residency residency) {
  return Name(kResidencies, residency);
}
std::string_view NameOf(KvPrecision precision) {
  return Name(kPrecisions, precision);
}
Result<Schedule> ParseSchedule(std::string_view name) {
  return Parse(kSchedules, "schedule", name);
}
Result<Residency> ParseResidency(std::string_view name) {
  return Parse(kResidencies, "treatment of weights", name);
}
Result<KvPrecision> ParseKvPrecision(std::string_view name) {
  return Parse(kPrecisions, "precision of keys and values", name);
}

uint64_t MemoryPlan::PrefillBytes() const {
  uint64_t total = 0;
  for (const MemoryPart& part : parts) total += part.prefill;
  return total;
}

uint64_t MemoryPlan::DecodeBytes() const {
  uint64_t total = 0;
  for (const MemoryPart& part : parts) total += part.decode;
  return total;
}

uint64_t MemoryPlan::TotalBytes() const {
  return std::max(PrefillBytes(), DecodeBytes());
}

uint64_t MemoryPlan::ArenaBytes() const {
  uint64_t total = 0;
  for (const MemoryPart& part : parts)
    if (part.in_arena) total += part.bytes();
  return total;
}

std::string PlannedSchedule::Name() const {
  std::string name(NameOf(schedule));
  if (kv != KvPrecision::kF16 &&
      !(schedule == Schedule::kExactQ8 && kv == KvPrecision::kQ8))
    name += ", " + std::string(NameOf(kv)) + " keys and values";
  if (weights == Residency::kReread) name += ", weights dropped while reading";
  if (weights == Residency::kStreamed) name += ", weights streamed";
  return name;
}

uint64_t ResidentBytes() { return KilobyteLine("/proc/self/status", "VmRSS:"); }
uint64_t PeakResidentBytes() {
  return KilobyteLine("/proc/self/status", "VmHWM:");
}

uint64_t ResidentHeapBytes() {
  return KilobyteLine("/proc/self/status", "RssAnon:");
}
uint64_t ResidentFileBytes() {
  return KilobyteLine("/proc/self/status", "RssFile:");
}

AvailableMemory FindAvailableMemory(const std::string& root) {
  const uint64_t own = KilobyteLine(root + "/proc/self/status", "VmRSS:");
  AvailableMemory found;
  found.bytes = KilobyteLine(root + "/proc/meminfo", "MemAvailable:");
  if (found.bytes != 0) {
    found.bytes += own;
    found.source = "the machine";
  }
  const auto consider = [&](uint64_t available) {
    available += own;
    if (found.bytes != 0 && available >= found.bytes) return;
    found.bytes = available;
    found.source = "its control group";
  };
  for (const ControlGroup& group : FindMemoryGroups(root)) {
    uint64_t available = 0;
    if (group.v2 ? GroupAvailable(group.folder, "memory.max", "memory.current",
                                  "inactive_file", &available)
                 : GroupAvailable(group.folder, "memory.limit_in_bytes",
                                  "memory.usage_in_bytes",
                                  "total_inactive_file", &available))
      consider(available);
  }
  return found;
}

AvailableMemory FindDefaultCap(const std::string& root) {
  constexpr uint64_t kLeastMargin = uint64_t{32} << 20;
  constexpr uint64_t kMarginShare = 20;  // a twentieth
  AvailableMemory cap = FindAvailableMemory(root);
  const uint64_t margin = std::max(kLeastMargin, cap.bytes / kMarginShare);
  if (cap.bytes == 0) {
    cap.source = "no limit known";
    return cap;
  }
  if (cap.bytes > margin) cap.bytes -= margin;
  cap.source += ", less " + BytesText(margin);
  return cap;
}

Result<uint64_t> ParseBytes(std::string_view text) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  std::string_view unit(parsed.ptr, static_cast<size_t>(end - parsed.ptr));
  double factor = 1;
  bool known = unit.empty() || unit == "B";
  if (!known) {
    constexpr std::string_view kUnits = "KMGT";
    const size_t power = kUnits.find(unit[0] >= 'a' && unit[0] <= 'z'
                                         ? static_cast<char>(unit[0] - 32)
                                         : unit[0]);
    const std::string_view rest = unit.substr(1);
    known = power != std::string_view::npos &&
            (rest.empty() || rest == "B" || rest == "iB");
    if (known) factor = std::pow(1024.0, static_cast<double>(power + 1));
  }
  if (parsed.ec != std::errc() || !known || !(number > 0) ||
      number * factor >= 0x1p62)
    return InvalidArgument("'" + std::string(text) +
                           "' is no size: a number of bytes, or with K, M or "
                           "G (powers of 1,024), such as 512M or 1.5G");
  return static_cast<uint64_t>(number * factor);
}

std::string BytesText(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B",   "KiB", "MiB", "GiB",
                                    "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f %s" : "%.1f %s", value,
                kUnits[unit]);
  return text;
}

}  // namespace dapple
