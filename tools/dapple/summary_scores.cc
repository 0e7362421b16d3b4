#include "summary_scores.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "needle_random.h"
#include "text_table.h"

namespace dapple::tool {
namespace {

using Json = nlohmann::ordered_json;

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// What the documents of one cell have.
struct Values {
  std::vector<double> rouge, difference, agreement, same, kept, prompt, answer;
};

SummaryCell CellOf(const std::string& source, const SummaryAnswer& variant,
                   const Values& values) {
  SummaryCell cell;
  cell.source = source;
  cell.policy = variant.policy;
  cell.keep = variant.keep;
  cell.documents = values.rouge.size();
  cell.rouge = Bootstrap(values.rouge);
  cell.difference = Bootstrap(values.difference);
  cell.agreement = Bootstrap(values.agreement);
  cell.same = Mean(values.same);
  cell.kept_share = Mean(values.kept);
  cell.prompt_tokens = Mean(values.prompt);
  cell.answer_tokens = Mean(values.answer);
  return cell;
}

// "23.1 [20.4–26.0]", in percent; the mean alone where there is no interval.
std::string Percent(const Estimate& estimate, const char* format,
                    size_t documents) {
  std::string text = Format(format, estimate.mean * 100);
  if (documents < 2) return text;
  return text + " [" + Format(format, estimate.low * 100) + "–" +
         Format(format, estimate.high * 100) + "]";
}

}  // namespace

Json ToJson(const SummaryRecord& record) {
  Json json;
  json["line"] = record.line;
  json["source"] = record.source;
  json["prompt_tokens"] = record.prompt_tokens;
  json["prefill_s"] = record.prefill_s;
  json["answers"] = Json::array();
  for (const SummaryAnswer& a : record.answers) {
    Json one;
    one["policy"] = a.policy;
    one["keep"] = a.keep;
    one["rouge_l"] = a.rouge;
    one["agreement"] = a.agreement;
    one["text"] = a.text;
    one["stop"] = a.stop;
    one["kept_share"] = a.kept_share;
    if (a.median_coverage >= 0) one["median_coverage"] = a.median_coverage;
    one["tokens"] = a.tokens;
    one["decode_s"] = a.decode_s;
    json["answers"].push_back(std::move(one));
  }
  return json;
}

SummaryRecord SummaryFromJson(const Json& json) {
  SummaryRecord record;
  json.at("line").get_to(record.line);
  json.at("source").get_to(record.source);
  json.at("prompt_tokens").get_to(record.prompt_tokens);
  json.at("prefill_s").get_to(record.prefill_s);
  for (const Json& one : json.at("answers")) {
    SummaryAnswer a;
    one.at("policy").get_to(a.policy);
    one.at("keep").get_to(a.keep);
    one.at("rouge_l").get_to(a.rouge);
    one.at("agreement").get_to(a.agreement);
    one.at("text").get_to(a.text);
    one.at("stop").get_to(a.stop);
    one.at("kept_share").get_to(a.kept_share);
    a.median_coverage = one.value("median_coverage", -1.0);
    one.at("tokens").get_to(a.tokens);
    one.at("decode_s").get_to(a.decode_s);
    record.answers.push_back(std::move(a));
  }
  return record;
}

Estimate Bootstrap(const std::vector<double>& values) {
  Estimate estimate;
  estimate.mean = Mean(values);
  estimate.low = estimate.high = estimate.mean;
  if (values.size() < 2) return estimate;
  constexpr size_t kResamples = 2000;
  NeedleRandom random(0);
  std::vector<double> means(kResamples);
  for (double& mean : means) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i)
      sum += values[random.Below(values.size())];
    mean = sum / static_cast<double>(values.size());
  }
  std::sort(means.begin(), means.end());
  estimate.low = means[kResamples / 40];
  estimate.high = means[kResamples - 1 - kResamples / 40];
  return estimate;
}

std::vector<SummaryCell> SummaryCells(
    const std::vector<SummaryRecord>& records) {
  std::map<std::string, std::vector<const SummaryRecord*>> sources;
  for (const SummaryRecord& record : records)
    sources[record.source].push_back(&record);
  std::vector<SummaryCell> cells;
  for (const auto& [source, documents] : sources) {
    const std::vector<SummaryAnswer>& variants = documents[0]->answers;
    for (size_t v = 0; v < variants.size(); ++v) {
      Values values;
      for (const SummaryRecord* record : documents) {
        if (v >= record->answers.size()) continue;
        const SummaryAnswer& full = record->answers[0];
        const SummaryAnswer& answer = record->answers[v];
        values.rouge.push_back(answer.rouge);
        values.difference.push_back(answer.rouge - full.rouge);
        values.agreement.push_back(answer.agreement);
        values.same.push_back(answer.text == full.text ? 1 : 0);
        values.kept.push_back(answer.kept_share);
        values.prompt.push_back(static_cast<double>(record->prompt_tokens));
        values.answer.push_back(static_cast<double>(answer.tokens));
      }
      cells.push_back(CellOf(source, variants[v], values));
    }
  }
  return cells;
}

std::string SummaryTables(const std::vector<SummaryCell>& cells,
                          const std::vector<SummarySkip>& skips,
                          bool markdown) {
  TextTable table = {{"source", "n", "tokens", "policy", "keep", "kept",
                      "ROUGE-L", "to full", "against full", "same"}};
  std::string source;
  for (const SummaryCell& cell : cells) {
    const bool first = cell.source != source;
    source = cell.source;
    table.push_back(
        {first ? source : "", first ? std::to_string(cell.documents) : "",
         first ? Format("%.0f", cell.prompt_tokens) : "", cell.policy,
         cell.keep, Format("%.1f %%", cell.kept_share * 100),
         Percent(cell.rouge, "%.1f", cell.documents),
         Percent(cell.difference, "%+.1f", cell.documents),
         Percent(cell.agreement, "%.0f", cell.documents),
         Format("%.0f %%", cell.same * 100)});
  }
  std::string out =
      "ROUGE-L F1 in % [95 % interval] against the references; its difference "
      "to everything\nkept, paired; and of the answers against those with "
      "everything kept\n";
  out += markdown ? "\n" + Markdown(table) : Laid(table);
  if (!skips.empty()) out += "\n";
  for (const SummarySkip& skip : skips)
    out += "Left out: " + std::to_string(skip.documents) + " of " +
           skip.source + ", " + skip.reason + ".\n";
  return out;
}

std::string SummaryCsv(const std::vector<SummaryCell>& cells) {
  std::string out =
      "source,policy,keep,documents,rouge_l,low,high,difference,"
      "difference_low,difference_high,agreement,agreement_low,"
      "agreement_high,same,kept_share,prompt_tokens,answer_tokens\n";
  for (const SummaryCell& cell : cells) {
    out += CsvField(cell.source) + "," + CsvField(cell.policy) + "," +
           CsvField(cell.keep) + "," + std::to_string(cell.documents);
    for (const Estimate& e : {cell.rouge, cell.difference, cell.agreement})
      for (double value : {e.mean, e.low, e.high})
        out += Format(",%.6f", value);
    out += Format(",%.6f", cell.same) + Format(",%.6f", cell.kept_share) +
           Format(",%.1f", cell.prompt_tokens) +
           Format(",%.1f", cell.answer_tokens) + "\n";
  }
  return out;
}

Json SummaryJson(const Json& settings, const std::vector<SummaryCell>& cells,
                 const std::vector<SummarySkip>& skips) {
  Json json;
  json["settings"] = settings;
  json["cells"] = Json::array();
  for (const SummaryCell& cell : cells) {
    const auto estimate = [](const Estimate& e) {
      return Json{{"mean", e.mean}, {"low", e.low}, {"high", e.high}};
    };
    Json one;
    one["source"] = cell.source;
    one["policy"] = cell.policy;
    one["keep"] = cell.keep;
    one["documents"] = cell.documents;
    one["rouge_l"] = estimate(cell.rouge);
    one["difference"] = estimate(cell.difference);
    one["agreement"] = estimate(cell.agreement);
    one["same"] = cell.same;
    one["kept_share"] = cell.kept_share;
    one["prompt_tokens"] = cell.prompt_tokens;
    one["answer_tokens"] = cell.answer_tokens;
    json["cells"].push_back(std::move(one));
  }
  json["left_out"] = Json::array();
  for (const SummarySkip& skip : skips)
    json["left_out"].push_back({{"source", skip.source},
                                {"reason", skip.reason},
                                {"documents", skip.documents}});
  return json;
}

}  // namespace dapple::tool
