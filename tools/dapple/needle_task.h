// NeedleTask: the kinds of question `dapple eval needle` asks of a long text.
//
// In the format of RULER (Hsieh et al. 2024, arXiv 2404.06654): sentences
// (needles) are hidden in a text that says nothing about them (the haystack),
// and the question at the end asks for what they said. Differences to RULER:
// prose is our own, variable tracking has no worked example before it, and
// `multikey-16` and `fact` are added.
#ifndef DAPPLE_TOOLS_NEEDLE_TASK_H_
#define DAPPLE_TOOLS_NEEDLE_TASK_H_

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "needle_random.h"

namespace dapple::tool {

enum class HaystackKind {
  kNoise,    // five short sentences over and over, a line each time
  kProse,    // sentences of NeedleProse or of a file
  kNeedles,  // nothing but needles like the one that is asked for
};

enum class ValueKind { kNumber, kUuid };

struct NeedleTask {
  enum class Kind { kNeedle, kVariables, kFact };
  std::string_view name;
  Kind kind = Kind::kNeedle;
  HaystackKind haystack = HaystackKind::kProse;
  ValueKind keys = ValueKind::kNumber;  // kUuid: the keys are uuids as well
  ValueKind values = ValueKind::kNumber;
  size_t key_count = 1;    // needles with different keys
  size_t value_count = 1;  // needles of each asked key
  size_t asked = 1;        // keys asked for
  // Longest answer after a lead-in. Without one the model first has to say the
  // like of it: kLeadInTokens more.
  size_t answer_tokens = 32;
  static constexpr size_t kLeadInTokens = 64;

  // The answer lies in one place, so that depth means something.
  bool one_place() const {
    return asked == 1 && value_count == 1 && kind != Kind::kVariables;
  }
};

// All tasks, in the order of tables.
std::span<const NeedleTask> NeedleTasks();
// Null when there is none of this name.
const NeedleTask* FindNeedleTask(std::string_view name);

// One question, before it is given its haystack.
struct NeedleQuiz {
  std::string intro;                 // what comes before the haystack
  std::vector<std::string> keys;     // that the needles are about
  std::vector<std::string> needles;  // the first holds the (first) answer
  bool in_order = false;             // needles must keep their order
  std::string question;              // what follows the haystack
  std::string lead_in;               // begins the answer
  std::vector<std::string> expected;
};

NeedleQuiz MakeQuiz(const NeedleTask& task, NeedleRandom* random);

// A needle of some key, for HaystackKind::kNeedles; the caller sees to it that
// no key comes twice.
std::string MakeDistractor(const NeedleTask& task, NeedleRandom* random,
                           std::string* key);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_NEEDLE_TASK_H_
