#include "needle_tables.h"

#include <doctest/doctest.h>

#include <cmath>

namespace dapple::tool {
namespace {

NeedleRecord Record(const std::string& task, size_t length, size_t sample,
                    const std::string& policy, const std::string& keep,
                    double depth, double score) {
  NeedleRecord record;
  record.task = task;
  record.length = length;
  record.sample = sample;
  record.policy = policy;
  record.keep = keep;
  record.depth = depth;
  record.score = score;
  record.prompt_tokens = length - 2;
  record.kept_share = policy == "full" ? 1 : 0.03;
  return record;
}

std::vector<NeedleRecord> Records() {
  std::vector<NeedleRecord> records;
  for (size_t sample = 0; sample < 4; ++sample) {
    const double depth = sample % 2 == 0 ? 0 : 1;
    for (size_t length : {8192u, 4096u}) {
      for (const char* task : {"vt", "niah-1", "fact"}) {
        records.push_back(
            Record(task, length, sample, "full", "all", depth, 1));
        records.push_back(Record(task, length, sample, "dapq", "3%", depth,
                                 depth == 0 ? 1 : 0.5));
      }
    }
  }
  return records;
}

TEST_CASE("answers are found whatever their capitals, in any order") {
  CHECK(ShareFound("It is ABC-1, then xyz.", {"abc-1"}) == 1);
  CHECK(ShareFound("7654321 1234567", {"1234567", "7654321"}) == 1);
  CHECK(ShareFound("12345 67", {"1234567"}) == 0);
  CHECK(ShareFound("a b", {"a", "q", "b", "z"}) == doctest::Approx(0.5));
  CHECK(ShareFound("", {"a"}) == 0);
}

TEST_CASE("Wilson's intervals have the bounds of its defining equation") {
  // |p - x| = z sqrt(x (1 - x) / n) at both ends, by Wilson's definition.
  const double z = 1.959963984540054;
  for (size_t n : {1u, 2u, 7u, 20u, 40u, 1000u}) {
    for (double p : {0.0, 0.05, 0.3, 0.5, 0.875, 1.0}) {
      const Interval interval = WilsonInterval(p, n);
      CHECK(interval.low <= p);
      CHECK(interval.high >= p);
      for (double x : {interval.low, interval.high}) {
        if (x == p) continue;  // 0 or 1: the other root
        CHECK(
            std::abs(p - x) ==
            doctest::Approx(z * std::sqrt(x * (1 - x) / static_cast<double>(n)))
                .epsilon(1e-9));
      }
    }
  }
  // Figures of textbooks: 0 of 10, 10 of 10, 8 of 20.
  CHECK(WilsonInterval(0, 10).low == 0);
  CHECK(WilsonInterval(0, 10).high == doctest::Approx(0.2775).epsilon(1e-3));
  CHECK(WilsonInterval(1, 10).low == doctest::Approx(0.7225).epsilon(1e-3));
  CHECK(WilsonInterval(1, 10).high == 1);
  CHECK(WilsonInterval(0.4, 20).low == doctest::Approx(0.2188).epsilon(1e-3));
  CHECK(WilsonInterval(0.4, 20).high == doctest::Approx(0.6134).epsilon(1e-3));
  CHECK(WilsonInterval(0, 0).low == 0);
  CHECK(WilsonInterval(0, 0).high == 1);
}

TEST_CASE("cells are means over samples, by length, policy and task") {
  const std::vector<NeedleCell> cells = NeedleCells(Records());
  REQUIRE(cells.size() == 12);
  CHECK(cells[0].length == 4096);
  CHECK(cells[0].policy == "full");
  CHECK(cells[0].task == "niah-1");
  CHECK(cells[1].task == "vt");
  CHECK(cells[2].task == "fact");
  CHECK(cells[3].policy == "dapq");
  CHECK(cells[3].accuracy == doctest::Approx(0.75));
  CHECK(cells[3].samples == 4);
  CHECK(cells[3].interval.low == doctest::Approx(WilsonInterval(0.75, 4).low));
  CHECK(cells[3].kept_share == doctest::Approx(0.03));
  CHECK(cells[3].median_coverage < 0);
  CHECK(cells[11].length == 8192);
}

TEST_CASE("tables name length, policies, tasks and figures") {
  const std::string text = NeedleTables(NeedleCells(Records()));
  CHECK(text.find("4,096 tokens, 4 samples a cell") != std::string::npos);
  CHECK(text.find("8,192 tokens") > text.find("4,096 tokens"));
  CHECK(text.find("100.0 [51–100]") != std::string::npos);
  CHECK(text.find("75.0 [30–96]") != std::string::npos);
  // All lines of a block are equally wide (– is three bytes, one column).
  std::vector<size_t> widths;
  size_t begin = text.find('\n') + 1;
  for (int row = 0; row < 3; ++row) {
    const size_t end = text.find('\n', begin);
    size_t width = 0;
    for (size_t i = begin; i < end; ++i)
      if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) ++width;
    widths.push_back(width);
    begin = end + 1;
  }
  CHECK(widths[0] == widths[1]);
  CHECK(widths[1] == widths[2]);
  CHECK(widths[0] > 40);
  CHECK(NeedleTables({}).empty());
}

TEST_CASE("tables of many tasks are split, and no cell is lost") {
  std::vector<NeedleRecord> records;
  for (const char* task :
       {"niah-1", "niah-2", "niah-3", "multikey-1", "multikey-2", "multikey-3",
        "multivalue", "multiquery", "vt", "fact", "multikey-16"})
    records.push_back(Record(task, 1000, 0, "full", "all", 0, 1));
  const std::string text = NeedleTables(NeedleCells(records));
  size_t cells = 0, begin = 0;
  for (size_t at = text.find("100.0 [20–100]"); at != std::string::npos;
       at = text.find("100.0 [20–100]", at + 1))
    ++cells;
  CHECK(cells == 11);
  while (begin < text.size()) {
    const size_t end = text.find('\n', begin);
    CHECK(end - begin < 110);
    begin = end + 1;
  }
}

TEST_CASE("budgets grow within a policy, whatever was run first") {
  std::vector<NeedleRecord> records;
  for (const char* keep : {"256", "10%", "64", "3%", "1024"})
    records.push_back(Record("vt", 1000, 0, "tova", keep, 0, 1));
  records.push_back(Record("vt", 1000, 0, "dapq", "256", 0, 0.5));
  std::string order;
  const std::vector<NeedleCell> cells = NeedleCells(records);
  for (const NeedleCell& cell : cells)
    order += cell.policy + " " + cell.keep + ";";
  CHECK(order == "tova 64;tova 256;tova 1024;tova 3%;tova 10%;dapq 256;");
  const std::string markdown = NeedleMarkdown(cells);
  CHECK(markdown.find("1,000 tokens, 1 samples a cell") == 0);
  CHECK(markdown.find("\n| policy | keep | kept | vt, 1 |\n|---|---:|") !=
        std::string::npos);
  CHECK(markdown.find("| tova | 10% | 3.0 % | 100.0 [20–100] |\n") !=
        std::string::npos);
  CHECK(NeedleMarkdown({}).empty());
}

TEST_CASE("CSV has a line a cell with as many fields as its head") {
  const std::string csv = NeedleCsv(NeedleCells(Records()));
  size_t lines = 0;
  for (size_t begin = 0; begin < csv.size(); ++lines) {
    const size_t end = csv.find('\n', begin);
    CHECK(std::count(csv.begin() + static_cast<long>(begin),
                     csv.begin() + static_cast<long>(end), ',') == 10);
    begin = end + 1;
  }
  CHECK(lines == 13);
  CHECK(csv.find("4096,niah-1,dapq,3%,4,0.750000,") != std::string::npos);
}

TEST_CASE("JSON has settings and all cells") {
  const auto json = NeedleJson({{"seed", 3}}, NeedleCells(Records()));
  CHECK(json["settings"]["seed"] == 3);
  REQUIRE(json["cells"].size() == 12);
  CHECK(json["cells"][3]["accuracy"] == 0.75);
  CHECK(json["cells"][3].count("median_coverage") == 0);
}

TEST_CASE("heat maps take the tasks whose answer lies in one place") {
  std::vector<NeedleRecord> records = Records();
  records.push_back(Record("niah-1", 1000, 9, "full", "all", 0, 0));
  const auto maps = NeedleMaps(records, "model m");
  REQUIRE(maps.size() == 2);
  CHECK(maps[0].name == "full");
  CHECK(maps[1].name == "dapq-3pct");
  const HeatMap& map = maps[1].map;
  CHECK(map.title == "dapq, 3% kept");
  CHECK(map.columns == std::vector<std::string>{"1000", "4k", "8k"});
  CHECK(map.rows == std::vector<std::string>{"0 %", "100 %"});
  REQUIRE(map.values.size() == 2);
  CHECK(map.values[0] == std::vector<double>{-1, 100, 100});
  CHECK(map.values[1] == std::vector<double>{-1, 50, 50});
  REQUIRE(map.notes.size() == 3);
  CHECK(map.notes[1].find("vt") == std::string::npos);
  CHECK(map.notes[1].find("niah-1, fact") != std::string::npos);
  CHECK(map.notes[2] == "Answers in a cell: 4");
  CHECK(maps[0].map.notes[2] == "Answers in a cell: 1 to 4");
  CHECK(NeedleMaps({Record("vt", 1000, 0, "full", "all", 0, 1)}, "").empty());
}

TEST_CASE("lengths are named as they are asked for") {
  CHECK(LengthName(8192) == "8k");
  CHECK(LengthName(1000) == "1000");
  CHECK(LengthName(1024) == "1k");
  CHECK(LengthName(131072) == "128k");
}

}  // namespace
}  // namespace dapple::tool
