#include "clock_text.h"

#include <cstdio>
#include <iterator>

#include "command.h"
#include "text_table.h"

namespace dapple::tool {
namespace {

std::string Joined(const std::vector<std::string>& parts) {
  std::string all;
  for (const std::string& part : parts) all += (all.empty() ? "" : "; ") + part;
  return all;
}

std::string Line(const char* name, const std::string& text) {
  char head[32];
  std::snprintf(head, sizeof(head), "%-18s ", name);
  return head + text + "\n";
}

std::string Megahertz(uint64_t khz) {
  return khz == 0 ? "unknown" : std::to_string(khz / 1000) + " MHz";
}

std::string PolicyText(const ClockPolicy& policy) {
  std::string text = "processors " + ProcessorsText(policy.cpus) + ": now " +
                     Megahertz(policy.current_khz) + ", at most " +
                     Megahertz(policy.max_khz);
  if (policy.hardware_max_khz != policy.max_khz)
    text += " of " + Megahertz(policy.hardware_max_khz);
  if (!policy.governor.empty())
    text += ", governor " + Printable(policy.governor);
  if (!policy.used) text += ", not used";
  return text;
}

std::string ZoneText(const ThermalZone& zone) {
  std::string text =
      Printable(zone.type) + " " + Format("%.1f \u00B0C", zone.celsius);
  if (zone.passive_celsius)
    text += Format(", slows down at %.0f", *zone.passive_celsius);
  if (zone.critical_celsius)
    text += Format(", switches off at %.0f", *zone.critical_celsius);
  return text;
}

std::string OrNone(const std::string& text) {
  return text.empty() ? "nothing" : text;
}

nlohmann::ordered_json Known(uint64_t khz) {
  return khz == 0 ? nlohmann::ordered_json()
                  : nlohmann::ordered_json(static_cast<double>(khz) / 1000);
}

nlohmann::ordered_json Known(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

}  // namespace

std::string ClockText(const ClockLimits& limits) {
  std::string text;
  const char* name = "clocks";
  for (const ClockPolicy& policy : limits.policies) {
    text += Line(name, PolicyText(policy));
    name = "";
  }
  if (limits.policies.empty()) text += Line(name, "not shown by this system");
  name = "temperatures";
  for (const ThermalZone& zone : limits.zones) {
    text += Line(name, ZoneText(zone));
    name = "";
  }
  name = "cooling";
  for (const CoolingDevice& device : limits.cooling) {
    text += Line(name, Printable(device.type) + ": " +
                           std::to_string(device.state) + " of " +
                           std::to_string(device.max_state));
    name = "";
  }
  if (limits.throttled)
    text +=
        Line("firmware limits",
             "now: " + OrNone(ThrottledText(*limits.throttled)) + "; before: " +
                 OrNone(ThrottledText(*limits.throttled >> kThrottledPast)));
  return text + Line("held back by", OrNone(Joined(BindingLimits(limits))));
}

nlohmann::ordered_json ClockJson(const ClockLimits& limits) {
  using Json = nlohmann::ordered_json;
  Json json = {{"policies", Json::array()},
               {"temperatures", Json::array()},
               {"cooling", Json::array()}};
  for (const ClockPolicy& policy : limits.policies)
    json["policies"].push_back(
        {{"processors", policy.cpus},
         {"used", policy.used},
         {"governor", policy.governor},
         {"driver", policy.driver},
         {"current_mhz", Known(policy.current_khz)},
         {"max_mhz", Known(policy.max_khz)},
         {"hardware_max_mhz", Known(policy.hardware_max_khz)}});
  for (const ThermalZone& zone : limits.zones)
    json["temperatures"].push_back(
        {{"zone", zone.type},
         {"celsius", zone.celsius},
         {"passive_celsius", Known(zone.passive_celsius)},
         {"critical_celsius", Known(zone.critical_celsius)}});
  for (const CoolingDevice& device : limits.cooling)
    json["cooling"].push_back({{"device", device.type},
                               {"state", device.state},
                               {"max_state", device.max_state}});
  json["firmware_flags"] = limits.throttled ? Json(*limits.throttled) : Json();
  json["held_back_by"] = BindingLimits(limits);
  return json;
}

void ClockWatch::Mention() const {
  const std::string text = Joined(BindingLimits(before_, ReadClockLimits()));
  if (!text.empty())
    std::fprintf(stderr, "dapple: held back: %s\n", Printable(text).c_str());
}

}  // namespace dapple::tool
