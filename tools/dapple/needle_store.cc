#include "needle_store.h"

namespace dapple::tool {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const NeedleRecord& r) {
  Json json;
  json["task"] = r.task;
  json["length"] = r.length;
  json["sample"] = r.sample;
  json["policy"] = r.policy;
  json["keep"] = r.keep;
  json["depth"] = r.depth;
  json["score"] = r.score;
  json["expected"] = r.expected;
  json["output"] = r.output;
  json["stop"] = r.stop;
  json["prompt_tokens"] = r.prompt_tokens;
  json["generated_tokens"] = r.generated_tokens;
  json["kept_share"] = r.kept_share;
  if (r.min_coverage >= 0) {
    json["min_coverage"] = r.min_coverage;
    json["median_coverage"] = r.median_coverage;
  }
  json["prefill_s"] = r.prefill_s;
  json["decode_s"] = r.decode_s;
  return json;
}

NeedleRecord FromJson(const Json& json) {
  NeedleRecord r;
  json.at("task").get_to(r.task);
  json.at("length").get_to(r.length);
  json.at("sample").get_to(r.sample);
  json.at("policy").get_to(r.policy);
  json.at("keep").get_to(r.keep);
  json.at("depth").get_to(r.depth);
  json.at("score").get_to(r.score);
  json.at("expected").get_to(r.expected);
  json.at("output").get_to(r.output);
  json.at("stop").get_to(r.stop);
  json.at("prompt_tokens").get_to(r.prompt_tokens);
  json.at("generated_tokens").get_to(r.generated_tokens);
  json.at("kept_share").get_to(r.kept_share);
  r.min_coverage = json.value("min_coverage", -1.0);
  r.median_coverage = json.value("median_coverage", -1.0);
  json.at("prefill_s").get_to(r.prefill_s);
  json.at("decode_s").get_to(r.decode_s);
  return r;
}

}  // namespace

Result<std::unique_ptr<NeedleStore>> NeedleStore::Open(
    const std::string& folder, const Json& settings) {
  auto store = std::make_unique<NeedleStore>();
  DAPPLE_ASSIGN_OR_RETURN(
      store->log_,
      ResultLog::Open(
          folder, "samples.jsonl", "dapple eval needle", settings,
          [&](const Json& line) { store->Remember(FromJson(line)); }));
  return store;
}

bool NeedleStore::Has(const std::string& task, size_t length, size_t sample,
                      const std::string& policy,
                      const std::string& keep) const {
  return keys_.count({task, length, sample, policy, keep}) != 0;
}

void NeedleStore::Remember(NeedleRecord record) {
  const bool is_new = keys_
                          .insert({record.task, record.length, record.sample,
                                   record.policy, record.keep})
                          .second;
  if (is_new) records_.push_back(std::move(record));
}

Status NeedleStore::Append(NeedleRecord record) {
  if (log_ != nullptr) DAPPLE_RETURN_IF_ERROR(log_->Append(ToJson(record)));
  Remember(std::move(record));
  return Status::Ok();
}

}  // namespace dapple::tool
