// Documents, scores and tables of `dapple eval summarize`.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "summary_documents.h"
#include "summary_scores.h"
#include "text_table.h"
#include "variants.h"

namespace dapple::tool {
namespace {

std::string Line(const std::string& source, const std::string& document) {
  return R"({"source": ")" + source + R"(", "document": ")" + document +
         R"(", "question": "q", "answer": "a"})" + "\n";
}

TEST_CASE("documents come in turns, one of each source") {
  const std::string bytes = Line("b", "1") + "\n" + Line("a", "2") +
                            Line("b", "3") + Line("b", "4") +
                            R"({"document": "5", "question": "q", "answer": )"
                            R"("r", "task": "qa"})";  // no line end, no source
  const auto all = ParseDocuments("f", bytes, {});
  REQUIRE_MESSAGE(all.ok(), all.status().message());
  std::string order;
  for (const SummaryDocument& one : *all) order += one.document;
  CHECK(order == "52134");
  CHECK((*all)[0].source.empty());
  CHECK((*all)[0].task == "qa");
  CHECK((*all)[0].answer == "r");
  CHECK((*all)[0].line == 6);
  CHECK((*all)[2].line == 1);

  const auto two = ParseDocuments("f", bytes, {{"b"}, 2});
  REQUIRE(two.ok());
  REQUIRE(two->size() == 2);
  CHECK((*two)[1].document == "3");
}

TEST_CASE("documents that make no sense are refused with the line") {
  const std::string good = Line("a", "text");
  const auto refused = [&](const std::string& line) {
    const auto parsed = ParseDocuments("file.jsonl", good + line, {});
    REQUIRE(!parsed.ok());
    CHECK(parsed.status().code() == StatusCode::kCorrupt);
    CHECK(parsed.status().message().find("file.jsonl: line 2") == 0);
    return parsed.status().message();
  };
  refused("{");
  refused("[]");
  refused("null");
  refused("{\"document\": \"\xFF\", \"question\": \"q\", \"answer\": \"a\"}");
  CHECK(refused(R"({"document": "d", "question": "q"})").find("\"answer\"") !=
        std::string::npos);
  refused(R"({"document": 1, "question": "q", "answer": "a"})");
  refused(R"({"document": " ", "question": "q", "answer": "a"})");
  refused(
      R"({"document": "d", "question": "q", "answer": "a", "source": null})");
  CHECK(ParseDocuments("f", good, {{"b"}, 0}).status().code() ==
        StatusCode::kInvalidArgument);
  CHECK(ParseDocuments("f", "\n \n", {}).status().code() ==
        StatusCode::kInvalidArgument);
}

TEST_CASE("a bootstrap interval is that of the normal law for many values") {
  std::vector<double> values;
  for (int i = 0; i < 400; ++i) values.push_back(i % 4 == 0 ? 1 : 0);
  const Estimate estimate = Bootstrap(values);
  const double half = 1.96 * std::sqrt(0.25 * 0.75 / 400);
  CHECK(estimate.mean == doctest::Approx(0.25));
  CHECK(estimate.low == doctest::Approx(0.25 - half).epsilon(0.03));
  CHECK(estimate.high == doctest::Approx(0.25 + half).epsilon(0.03));
  // The same every time.
  CHECK(Bootstrap(values).low == estimate.low);
  CHECK(Bootstrap({0.5, 0.5, 0.5}).low == 0.5);
  CHECK(Bootstrap({0.3}).low == 0.3);
  CHECK(Bootstrap({0.3}).high == 0.3);
  CHECK(Bootstrap({}).mean == 0);
}

SummaryRecord Record(size_t line, const std::string& source, double full,
                     double part) {
  SummaryRecord record;
  record.line = line;
  record.source = source;
  record.prompt_tokens = 100 * line;
  record.prefill_s = 0.5;
  SummaryAnswer answer;
  answer.policy = "full";
  answer.keep = "all";
  answer.text = "A text with \"quotes\".";
  answer.stop = "end";
  answer.rouge = full;
  answer.agreement = 1;
  answer.tokens = 8;
  record.answers.push_back(answer);
  answer.policy = "dapq";
  answer.keep = "10%";
  answer.rouge = part;
  answer.agreement = 0.5;
  answer.kept_share = 0.1;
  answer.median_coverage = 0.75;
  if (full != part) answer.text = "Another, \xC3";  // cut short
  record.answers.push_back(answer);
  return record;
}

TEST_CASE("summaries' cells are means by source, differences paired") {
  const auto cells =
      SummaryCells({Record(1, "b", 0.2, 0.1), Record(2, "a", 0.5, 0.5),
                    Record(3, "b", 0.4, 0.3)});
  REQUIRE(cells.size() == 4);
  CHECK(cells[0].source == "a");
  CHECK(cells[0].documents == 1);
  CHECK(cells[1].same == 1);
  CHECK(cells[2].policy == "full");
  CHECK(cells[2].rouge.mean == doctest::Approx(0.3));
  CHECK(cells[2].difference.mean == 0);
  CHECK(cells[2].same == 1);
  CHECK(cells[3].source == "b");
  CHECK(cells[3].keep == "10%");
  CHECK(cells[3].documents == 2);
  CHECK(cells[3].rouge.mean == doctest::Approx(0.2));
  // Both documents lose the same: no spread in what is paired.
  CHECK(cells[3].difference.mean == doctest::Approx(-0.1));
  CHECK(cells[3].difference.low == doctest::Approx(-0.1));
  CHECK(cells[3].difference.high == doctest::Approx(-0.1));
  CHECK(cells[3].agreement.mean == doctest::Approx(0.5));
  CHECK(cells[3].same == 0);
  CHECK(cells[3].kept_share == doctest::Approx(0.1));
  CHECK(cells[3].prompt_tokens == doctest::Approx(200));
  CHECK(SummaryCells({}).empty());
}

TEST_CASE("a summary's record comes back from its line as it was") {
  const SummaryRecord record = Record(7, "s", 0.25, 0.5);
  const auto json = nlohmann::ordered_json::parse(ToJson(record).dump(
      -1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  const SummaryRecord back = SummaryFromJson(json);
  CHECK(back.line == 7);
  CHECK(back.source == "s");
  CHECK(back.prompt_tokens == 700);
  REQUIRE(back.answers.size() == 2);
  CHECK(back.answers[0].text == record.answers[0].text);
  CHECK(back.answers[0].median_coverage == -1);
  CHECK(back.answers[1].keep == "10%");
  CHECK(back.answers[1].rouge == 0.5);
  CHECK(back.answers[1].agreement == 0.5);
  CHECK(back.answers[1].median_coverage == 0.75);
  CHECK(back.answers[1].tokens == 8);
  CHECK_THROWS_AS(SummaryFromJson({{"line", 1}}),
                  nlohmann::ordered_json::exception);
}

TEST_CASE("summaries' tables name sources, budgets, figures, what is missing") {
  const auto cells =
      SummaryCells({Record(1, "b", 0.2, 0.1), Record(3, "b", 0.4, 0.1),
                    Record(2, "a,x", 0.5, 0.5)});
  const std::vector<SummarySkip> skips = {{"b", "too long", 3}};
  const std::string text = SummaryTables(cells, skips, false);
  CHECK(text.find("30.0 [20.0–40.0]") != std::string::npos);
  CHECK(text.find("-20.0 [-30.0–-10.0]") != std::string::npos);
  CHECK(text.find("Left out: 3 of b, too long.") != std::string::npos);
  const std::string markdown = SummaryTables(cells, skips, true);
  CHECK(markdown.find("\n|---|---:|") != std::string::npos);
  CHECK(markdown.find("| b | 2 | 200 | full | all |") != std::string::npos);

  const std::string csv = SummaryCsv(cells);
  CHECK(std::count(csv.begin(), csv.end(), '\n') == 5);
  CHECK(csv.find("\n\"a,x\",full,all,1,0.500000,0.500000,") !=
        std::string::npos);
  CHECK(csv.find("\nb,dapq,10%,2,0.100000,") != std::string::npos);

  const auto json = SummaryJson({{"seed", 1}}, cells, skips);
  CHECK(json["settings"]["seed"] == 1);
  REQUIRE(json["cells"].size() == 4);
  CHECK(json["cells"][2]["rouge_l"]["mean"].get<double>() ==
        doctest::Approx(0.3));
  CHECK(json["left_out"][0]["documents"] == 3);
}

TEST_CASE("text tables align columns, Markdown escapes bars") {
  const TextTable table = {{"a", "n"}, {"long", "1"}, {"–|", "12"}};
  CHECK(Laid(table) == "a      n\nlong   1\n–|    12\n");
  CHECK(Markdown(table) ==
        "| a | n |\n|---|---:|\n| long | 1 |\n| –\\| | 12 |\n");
  CHECK(CsvField("a") == "a");
  CHECK(CsvField("a\"b") == "\"a\"\"b\"");
}

TEST_CASE("variants are each policy with each budget, and full once") {
  EvictionOptions base;
  base.pool = 3;
  const auto some = ParseVariants({"full", "dapq"}, {"256", "3%", "256"}, base);
  REQUIRE_MESSAGE(some.ok(), some.status().message());
  REQUIRE(some->size() == 3);
  CHECK(KeepName((*some)[0]) == "all");
  CHECK(KeepName((*some)[1]) == "256");
  CHECK(KeepName((*some)[2]) == "3%");
  CHECK((*some)[2].pool == 3);
  CHECK(ParseVariants({"all"}, {"1"}, base)->size() ==
        EvictionPolicies().size());
  CHECK(!ParseVariants({"dapq"}, {"x"}, base).ok());
  CHECK(!ParseVariants({"best"}, {"1"}, base).ok());
}

}  // namespace
}  // namespace dapple::tool
