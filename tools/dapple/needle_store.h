// NeedleStore: the samples of a run, kept in a folder so that it can go on.
//
// They are the results of DIR/samples.jsonl, a ResultLog.
#ifndef DAPPLE_TOOLS_NEEDLE_STORE_H_
#define DAPPLE_TOOLS_NEEDLE_STORE_H_

#include <cstddef>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "dapple/status.h"
#include "result_log.h"

namespace dapple::tool {

struct NeedleRecord {
  std::string task;
  size_t length = 0;  // as asked for, in tokens
  size_t sample = 0;
  std::string policy;
  std::string keep;  // as asked for: "256", "3%", "all"
  double depth = 0;  // [0, 1]
  double score = 0;  // [0, 1]
  std::vector<std::string> expected;
  std::string output;
  std::string stop;  // as NeedleAnswer::stop
  size_t prompt_tokens = 0;
  size_t generated_tokens = 0;
  double kept_share = 1;  // of the prompt's keys and values
  double min_coverage = -1;
  double median_coverage = -1;
  double prefill_s = 0;  // of the sample, shared by all policies
  double decode_s = 0;
};

class NeedleStore {
 public:
  // Only in memory.
  NeedleStore() = default;
  NeedleStore(const NeedleStore&) = delete;
  NeedleStore& operator=(const NeedleStore&) = delete;

  // As ResultLog::Open.
  static Result<std::unique_ptr<NeedleStore>> Open(
      const std::string& folder, const nlohmann::ordered_json& settings);

  bool Has(const std::string& task, size_t length, size_t sample,
           const std::string& policy, const std::string& keep) const;
  Status Append(NeedleRecord record);
  const std::vector<NeedleRecord>& records() const { return records_; }

 private:
  using Key = std::tuple<std::string, size_t, size_t, std::string, std::string>;

  void Remember(NeedleRecord record);

  std::unique_ptr<ResultLog> log_;  // null: only in memory
  std::vector<NeedleRecord> records_;
  std::set<Key> keys_;
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_NEEDLE_STORE_H_
