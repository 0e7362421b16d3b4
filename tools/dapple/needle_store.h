// NeedleStore: the samples of a run, kept in a folder so that it can go on.
//
// DIR/samples.jsonl holds one JSON object a line: first the settings that
// every sample depends on, then the samples, each written and flushed when it
// is done. Opening a folder again reads them back; a last line that was cut
// short by a crash is dropped. The file is locked while a store is open.
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
  ~NeedleStore();
  NeedleStore(const NeedleStore&) = delete;
  NeedleStore& operator=(const NeedleStore&) = delete;

  // Makes the folder if need be. kInvalidArgument when it holds samples of
  // other settings (the message names the differences), kCorrupt with the
  // line's number when a line makes no sense.
  static Result<std::unique_ptr<NeedleStore>> Open(
      const std::string& folder, const nlohmann::ordered_json& settings);

  bool Has(const std::string& task, size_t length, size_t sample,
           const std::string& policy, const std::string& keep) const;
  Status Append(NeedleRecord record);
  const std::vector<NeedleRecord>& records() const { return records_; }

  // Replaces DIR/name, whole or not at all.
  static Status WriteFile(const std::string& folder, const std::string& name,
                          const std::string& bytes);

 private:
  using Key = std::tuple<std::string, size_t, size_t, std::string, std::string>;

  Status Load(const nlohmann::ordered_json& settings);
  Status WriteLine(const std::string& line);
  void Remember(NeedleRecord record);

  std::string path_;
  int file_ = -1;
  std::vector<NeedleRecord> records_;
  std::set<Key> keys_;
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_NEEDLE_STORE_H_
