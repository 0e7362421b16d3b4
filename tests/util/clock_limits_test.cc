// What is read from made-up /sys trees: boards, a laptop, nothing, rubbish.
#include "dapple/clock_limits.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "temporary_folder.h"

namespace dapple {
namespace {

using Words = std::vector<std::string>;

class FakeSys {
 public:
  void Write(const std::string& path, const std::string& text) const {
    const std::string below = "sys/" + path;
    std::filesystem::create_directories(
        std::filesystem::path(folder_.Path(below)).parent_path());
    folder_.Write(below, text);
  }
  void Policy(int number, const std::string& cpus, const std::string& governor,
              int current_mhz, int max_mhz, int hardware_mhz,
              const std::string& driver = "cpufreq-dt") const {
    const std::string base =
        "devices/system/cpu/cpufreq/policy" + std::to_string(number) + "/";
    Write(base + "related_cpus", cpus + "\n");
    Write(base + "scaling_governor", governor + "\n");
    Write(base + "scaling_driver", driver + "\n");
    Write(base + "scaling_cur_freq", std::to_string(current_mhz) + "000\n");
    Write(base + "scaling_max_freq", std::to_string(max_mhz) + "000\n");
    Write(base + "cpuinfo_max_freq", std::to_string(hardware_mhz) + "000\n");
  }
  void Zone(int number, const std::string& type,
            const std::string& temp) const {
    const std::string base =
        "class/thermal/thermal_zone" + std::to_string(number) + "/";
    Write(base + "type", type + "\n");
    Write(base + "temp", temp + "\n");
  }
  void Trip(int zone, int trip, const std::string& type,
            const std::string& temp) const {
    const std::string base = "class/thermal/thermal_zone" +
                             std::to_string(zone) + "/trip_point_" +
                             std::to_string(trip) + "_";
    Write(base + "type", type + "\n");
    Write(base + "temp", temp + "\n");
  }
  void Cooling(int number, const std::string& type, const std::string& state,
               const std::string& most) const {
    const std::string base =
        "class/thermal/cooling_device" + std::to_string(number) + "/";
    Write(base + "type", type + "\n");
    Write(base + "cur_state", state + "\n");
    Write(base + "max_state", most + "\n");
  }
  std::string root() const { return folder_.Path(""); }
  ClockLimits Read(const std::vector<int>& cpus = {}) const {
    return ReadClockLimits(root(), cpus);
  }

 private:
  TemporaryFolder folder_;
};

constexpr const char* kThrottled =
    "devices/platform/soc/soc:firmware/get_throttled";

TEST_CASE("a Raspberry Pi 5 says what holds it back, and when nothing does") {
  const FakeSys sys;
  sys.Policy(0, "0 1 2 3", "ondemand", 1500, 2400, 2400);
  sys.Zone(0, "cpu-thermal", "52350");
  sys.Trip(0, 0, "critical", "110000");
  sys.Trip(0, 1, "active", "50000");
  sys.Cooling(0, "pwm-fan", "2", "4");
  sys.Write(
      "devices/platform/soc@107c000000/soc@107c000000:firmware/"
      "get_throttled",
      "0\n");
  const ClockLimits idle = sys.Read();
  REQUIRE(idle.policies.size() == 1);
  CHECK(idle.policies[0].cpus == std::vector<int>{0, 1, 2, 3});
  CHECK(idle.policies[0].governor == "ondemand");
  CHECK(idle.policies[0].current_khz == 1500000);
  REQUIRE(idle.zones.size() == 1);
  CHECK(idle.zones[0].type == "cpu-thermal");
  CHECK(idle.zones[0].celsius == doctest::Approx(52.35));
  CHECK_FALSE(idle.zones[0].passive_celsius);
  CHECK(*idle.zones[0].critical_celsius == doctest::Approx(110));
  CHECK(idle.cooling.empty());  // a fan holds nothing back
  CHECK(idle.throttled == 0u);
  CHECK(BindingLimits(idle).empty());
  CHECK(BindingLimits(idle, idle).empty());

  const FakeSys hot;
  hot.Policy(0, "0 1 2 3", "ondemand", 1500, 2400, 2400);
  hot.Write(kThrottled, "e0008\n");
  CHECK(BindingLimits(hot.Read()) == Words{"firmware: soft temperature limit"});
  // What was over when a run began is none of its business; what came and went
  // while it ran is.
  ClockLimits before = hot.Read(), after = before;
  before.throttled = 0x50000;
  after.throttled = 0x50000;
  CHECK(BindingLimits(before, after).empty());
  after.throttled = 0xD0000;
  CHECK(BindingLimits(before, after) ==
        Words{"firmware: soft temperature limit"});
  after.throttled = 0xF0007;
  CHECK(BindingLimits(before, after) ==
        Words{"firmware: under-voltage, frequency capped, throttled",
              "firmware: soft temperature limit"});
}

TEST_CASE("of an RK3588 only the clusters that compute count") {
  const FakeSys sys;
  sys.Policy(0, "0 1 2 3", "powersave", 408, 408, 1800);
  sys.Policy(4, "4 5", "schedutil", 1200, 1608, 2400);
  sys.Policy(6, "6 7", "powersave", 408, 2400, 2400);
  sys.Zone(1, "bigcore0-thermal", "86100");
  sys.Trip(1, 0, "passive", "85000");
  sys.Trip(1, 1, "passive", "75000");
  sys.Trip(1, 2, "critical", "115000");
  sys.Cooling(0, "cpufreq-cpu0", "0", "6");
  sys.Cooling(1, "cpufreq-cpu4", "5", "9");
  sys.Cooling(2, "thermal-devfreq-0", "3", "5");  // the GPU's
  const ClockLimits limits = sys.Read({4, 5, 6, 7});
  REQUIRE(limits.policies.size() == 3);
  CHECK_FALSE(limits.policies[0].used);
  CHECK(limits.policies[1].used);
  CHECK(limits.policies[2].number == 6);
  CHECK(*limits.zones[0].passive_celsius == doctest::Approx(75));
  REQUIRE(limits.cooling.size() == 2);
  CHECK_FALSE(limits.throttled);
  CHECK(BindingLimits(limits) ==
        Words{"governor powersave on processors 6-7",
              "at most 1608 of 2400 MHz on processors 4-5",
              "slowed down to cool"});
  // All eight at work.
  CHECK(BindingLimits(sys.Read()).front() ==
        "governor powersave on processors 0-3,6-7");
}

TEST_CASE("a laptop's usual powersave governor is no limit") {
  const FakeSys sys;
  for (int cpu = 0; cpu < 4; ++cpu)
    sys.Policy(cpu, std::to_string(cpu), "powersave", 2100, 4700, 4700,
               "intel_pstate");
  sys.Zone(0, "x86_pkg_temp", "61000");
  sys.Trip(0, 0, "passive", "0");  // off
  sys.Zone(1, "iwlwifi_1", "");    // the radio is off: no temperature
  sys.Cooling(0, "Processor", "0", "10");
  sys.Cooling(1, "intel_powerclamp", "-1", "100");
  sys.Cooling(2, "LCD", "40", "100");
  sys.Write("devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
            "12\n");
  sys.Write("devices/system/cpu/cpufreq/boost", "1\n");
  const ClockLimits limits = sys.Read();
  CHECK(limits.policies.size() == 4);
  CHECK(limits.zones.size() == 1);
  CHECK_FALSE(limits.zones[0].passive_celsius);
  CHECK(limits.cooling.size() == 2);
  CHECK(limits.hot_events == 12);
  CHECK(BindingLimits(limits).empty());
  CHECK(BindingLimits(limits, limits).empty());
  ClockLimits after = limits;
  after.hot_events += 3;
  CHECK(BindingLimits(limits, after) == Words{"too hot 3 times"});
  after = limits;
  after.policies[1].max_khz = 1200000;
  CHECK(BindingLimits(limits, after) ==
        Words{"at most 1200 of 4700 MHz on processors 1"});
  // The same governor under another driver stays at the lowest clock.
  after = limits;
  after.policies[2].driver = "acpi-cpufreq";
  CHECK(BindingLimits(after) == Words{"governor powersave on processors 2"});
}

TEST_CASE("a system that shows nothing has no limits") {
  const TemporaryFolder empty;
  const ClockLimits limits = ReadClockLimits(empty.Path(""), {});
  CHECK(limits.policies.empty());
  CHECK(limits.zones.empty());
  CHECK(limits.cooling.empty());
  CHECK_FALSE(limits.throttled);
  CHECK(limits.hot_events == 0);
  CHECK(BindingLimits(limits).empty());
  // This machine's own, whatever it shows.
  ReadClockLimits();
}

TEST_CASE("rubbish in /sys is passed over") {
  const FakeSys sys;
  const std::string base = "devices/system/cpu/cpufreq/";
  const std::string huge(100000, '9');
  for (const char* name : {"policy", "policy-1", "policyx", "policy0x",
                           "policy99999999999999999999"})
    sys.Write(base + name + "/scaling_governor", "powersave\n");
  sys.Policy(0, "0-4000000000,7-3,x", "power\x1b[31msave", 1, 2, 3);
  sys.Write(base + "policy0/scaling_max_freq", huge);
  sys.Write(base + "policy0/cpuinfo_max_freq", "-5\n");
  sys.Policy(1, huge, std::string(5000, 'g'), 1, 2, 3);
  sys.Write(base + "policy1/scaling_max_freq", "18446744073709551615\n");
  sys.Policy(2, "0-2", "schedutil", 1, 2, 2);
  sys.Write(base + "policy2/scaling_cur_freq", "<unknown>\n");
  std::filesystem::create_directories(sys.root() + "/sys/" + base + "policy3");
  REQUIRE(
      mkfifo((sys.root() + "/sys/" + base + "policy3/scaling_governor").c_str(),
             0600) == 0);
  sys.Zone(0, "cold", "-300000");
  sys.Zone(1, "hot", "99999999");
  sys.Zone(2, "text", "warm");
  sys.Zone(3, "\xff\xfe", "40000");
  sys.Zone(4, "fine", "40000");
  for (int trip = 0; trip < 100; ++trip)
    sys.Trip(4, trip, "passive", trip == 99 ? "1000" : "nonsense");
  sys.Cooling(0, "cpufreq-cpu0", "7", "nonsense");
  sys.Cooling(1, "cpufreq-cpu1", "99999999999999999999", "5");
  sys.Write(kThrottled, "0xzz\n");
  sys.Write("devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
            std::string("1\0002", 3));
  std::filesystem::create_directories(sys.root() +
                                      "/sys/class/thermal/thermal_zone5/type");
  const ClockLimits limits = sys.Read();
  REQUIRE(limits.policies.size() == 1);
  CHECK(limits.policies[0].number == 2);
  CHECK(limits.policies[0].current_khz == 0);
  REQUIRE(limits.zones.size() == 1);
  CHECK(limits.zones[0].type == "fine");
  CHECK_FALSE(limits.zones[0].passive_celsius);
  CHECK(limits.cooling.size() == 1);
  CHECK_FALSE(limits.throttled);
  CHECK(limits.hot_events == 0);
  CHECK(BindingLimits(limits).empty());
}

TEST_CASE("processors are written as ranges") {
  CHECK(ProcessorsText({}) == "");
  CHECK(ProcessorsText({5}) == "5");
  CHECK(ProcessorsText({0, 1, 2, 3, 6, 8, 9}) == "0-3,6,8-9");
}

}  // namespace
}  // namespace dapple
