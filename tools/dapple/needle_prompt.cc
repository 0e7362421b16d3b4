#include "needle_prompt.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <set>

#include "dapple/chat.h"
#include "dapple/sentences.h"
#include "needle_prose.h"

namespace dapple::tool {
namespace {

// A piece of haystack. A needle may be put in front of it if `border`.
struct Straw {
  std::string text;
  std::string_view separator = " ";  // between it and what follows
  bool border = true;
  size_t tokens = 0;  // estimate
};

class Haystack {
 public:
  virtual ~Haystack() = default;
  virtual Straw Next() = 0;
  // Straws may be left out or swapped; else only the last one may be cut.
  virtual bool loose() const { return true; }
  // What follows a needle.
  virtual std::string_view separator() const { return "\n"; }
};

class Noise : public Haystack {
 public:
  Straw Next() override {
    static constexpr std::string_view kLine[] = {
        "The grass is green.", "The sky is blue.", "The sun is yellow.",
        "Here we go.", "There and back again."};
    const size_t at = count_++ % std::size(kLine);
    return {std::string(kLine[at]), at + 1 == std::size(kLine) ? "\n" : " ",
            at == 0};
  }
  bool loose() const override { return false; }

 private:
  size_t count_ = 0;
};

class Prose : public Haystack {
 public:
  explicit Prose(uint64_t seed) : prose_(seed) {}
  Straw Next() override {
    Straw straw{prose_.NextSentence()};
    if (prose_.paragraph_ended()) straw.separator = "\n\n";
    return straw;
  }
  std::string_view separator() const override { return " "; }

 private:
  NeedleProse prose_;
};

// From a sentence on that the seed chooses, and from the start again.
class File : public Haystack {
 public:
  File(const HaystackText& text, uint64_t seed) : text_(text) {
    NeedleRandom random(seed);
    next_ = random.Below(text.sentences.size());
  }
  Straw Next() override {
    const HaystackText::Sentence& sentence = text_.sentences[next_];
    next_ = (next_ + 1) % text_.sentences.size();
    return {sentence.text, sentence.ends_paragraph ? "\n\n" : " "};
  }
  bool loose() const override { return false; }
  std::string_view separator() const override { return " "; }

 private:
  const HaystackText& text_;
  size_t next_;
};

class Needles : public Haystack {
 public:
  Needles(const NeedleTask& task, const NeedleQuiz& quiz, uint64_t seed)
      : task_(task), random_(seed), used_(quiz.keys.begin(), quiz.keys.end()) {
    asked_ = used_;
  }
  Straw Next() override {
    std::string key, text;
    // Beyond some hundred thousand tokens the keys run out: then one that is
    // not asked for may come again.
    for (int i = 0; i < 200; ++i) {
      text = MakeDistractor(task_, &random_, &key);
      if (used_.insert(key).second) return {text, "\n"};
    }
    while (asked_.count(key) != 0) text = MakeDistractor(task_, &random_, &key);
    return {text, "\n"};
  }

 private:
  const NeedleTask& task_;
  NeedleRandom random_;
  std::set<std::string> used_, asked_;
};

std::unique_ptr<Haystack> MakeHaystack(const NeedleTask& task,
                                       const NeedleQuiz& quiz,
                                       const NeedlePromptOptions& options,
                                       uint64_t seed) {
  switch (task.haystack) {
    case HaystackKind::kNoise:
      return std::make_unique<Noise>();
    case HaystackKind::kNeedles:
      return std::make_unique<Needles>(task, quiz, seed);
    case HaystackKind::kProse:
      break;
  }
  if (options.prose != nullptr)
    return std::make_unique<File>(*options.prose, seed);
  return std::make_unique<Prose>(seed);
}

class Filler {
 public:
  Filler(const Tokenizer& tokenizer, const NeedleQuiz& quiz,
         const NeedlePromptOptions& options, Haystack* haystack)
      : tokenizer_(tokenizer),
        quiz_(quiz),
        options_(options),
        haystack_(*haystack) {}

  // Where each needle goes, as a share of the haystack.
  void SetDepths(std::vector<double> depths) { depths_ = std::move(depths); }

  Result<NeedlePrompt> Fill(size_t length) {
    NeedlePrompt prompt;
    prompt.expected = quiz_.expected;
    if (options_.lead_in) prompt.lead_in = quiz_.lead_in;
    DAPPLE_RETURN_IF_ERROR(Encode(&prompt));
    if (prompt.ids.size() > length) return TooShort(length, prompt.ids.size());
    // Straws are counted one by one, which is nearly right; the sum is then
    // corrected by what the whole prompt has.
    size_t room = length - prompt.ids.size();
    std::optional<NeedlePrompt> nearest;
    for (int i = 0; i < 12; ++i) {
      DAPPLE_RETURN_IF_ERROR(FillTo(room));
      DAPPLE_RETURN_IF_ERROR(Encode(&prompt));
      const size_t tokens = prompt.ids.size();
      if (tokens <= length && tokens >= length - length / 100) return prompt;
      if (tokens <= length &&
          (!nearest.has_value() || tokens > nearest->ids.size()))
        nearest = prompt;
      if (tokens > length)
        room -= std::min(room, tokens - length);
      else
        room += length - tokens;
    }
    // Where straws must stay whole and are long, less than one may miss.
    if (nearest.has_value() && length - nearest->ids.size() <= longest_)
      return *std::move(nearest);
    return InvalidArgument("--length " + std::to_string(length) +
                           ": no prompt of about this length was found");
  }

 private:
  static Status TooShort(size_t length, size_t needed) {
    return InvalidArgument("--length " + std::to_string(length) +
                           ": too short, the question alone takes " +
                           std::to_string(needed) + " tokens");
  }

  Result<size_t> Count(const Straw& straw) const {
    DAPPLE_ASSIGN_OR_RETURN(
        const std::vector<TokenId> ids,
        tokenizer_.Encode(straw.text + std::string(straw.separator),
                          {.add_bos = false, .add_space_prefix = false}));
    return ids.size();
  }

  void Add(Straw straw) {
    total_ += straw.tokens;
    straws_.push_back(std::move(straw));
  }

  void DropLast() {
    total_ -= straws_.back().tokens;
    spare_.push_back(std::move(straws_.back()));
    straws_.pop_back();
  }

  Result<Straw> Draw() {
    if (!spare_.empty()) {
      Straw straw = std::move(spare_.back());
      spare_.pop_back();
      return straw;
    }
    Straw straw = haystack_.Next();
    DAPPLE_ASSIGN_OR_RETURN(straw.tokens, Count(straw));
    longest_ = std::max(longest_, straw.tokens);
    return straw;
  }

  // Straws of `room` tokens at most, by the estimate.
  Status FillTo(size_t room) {
    if (cut_) {
      total_ -= straws_.back().tokens;
      straws_.pop_back();
      cut_ = false;
    }
    while (!straws_.empty() && total_ > room) DropLast();
    while (true) {
      DAPPLE_ASSIGN_OR_RETURN(Straw straw, Draw());
      if (total_ + straw.tokens > room) {
        spare_.push_back(std::move(straw));
        break;
      }
      Add(std::move(straw));
    }
    return haystack_.loose() ? SwapTail(room) : CutTail(room);
  }

  // Closes the gap with a shorter straw, or by longer ones for some of the
  // last ones.
  Status SwapTail(size_t room) {
    constexpr size_t kTries = 160;
    for (size_t i = 0; i < kTries && room - total_ > 2; ++i) {
      Straw straw = haystack_.Next();
      DAPPLE_ASSIGN_OR_RETURN(straw.tokens, Count(straw));
      const size_t gap = room - total_;
      if (straw.tokens <= gap) {
        Add(std::move(straw));
        continue;
      }
      if (straws_.empty()) continue;
      Straw& old = straws_[straws_.size() - 1 -
                           i % std::min<size_t>(straws_.size(), 64)];
      if (straw.tokens <= old.tokens || straw.tokens - old.tokens > gap)
        continue;
      straw.separator = old.separator;
      total_ += straw.tokens - old.tokens;
      old = std::move(straw);
    }
    return Status::Ok();
  }

  // Closes the gap with the first words of the next straw.
  Status CutTail(size_t room) {
    DAPPLE_ASSIGN_OR_RETURN(Straw straw, Draw());
    spare_.push_back(straw);
    while (straw.tokens > room - total_) {
      const size_t space = straw.text.rfind(' ');
      if (space == std::string::npos) return Status::Ok();
      straw.text.resize(space);
      DAPPLE_ASSIGN_OR_RETURN(straw.tokens, Count(straw));
    }
    cut_ = true;
    Add(std::move(straw));
    return Status::Ok();
  }

  // The index of the straw in front of which a needle of this depth stands.
  size_t Place(double depth) const {
    size_t at = static_cast<size_t>(
        std::llround(depth * static_cast<double>(straws_.size())));
    while (at < straws_.size() && !straws_[at].border) ++at;
    return std::min(at, straws_.size());
  }

  Status Encode(NeedlePrompt* prompt) const {
    std::vector<std::pair<size_t, size_t>> places;  // straw, needle
    for (size_t i = 0; i < quiz_.needles.size(); ++i)
      places.emplace_back(Place(depths_[i]), i);
    std::sort(places.begin(), places.end());
    std::string text = quiz_.intro + "\n";
    const auto needle = [&](size_t index) {
      // A cut line of noise ends with a space.
      if (text.back() == ' ') text.pop_back();
      if (text.back() != '\n') text += haystack_.separator();
      text += quiz_.needles[index];
      text += haystack_.separator();
    };
    size_t next = 0;
    for (size_t i = 0; i < straws_.size(); ++i) {
      while (next < places.size() && places[next].first == i)
        needle(places[next++].second);
      text += straws_[i].text;
      text += straws_[i].separator;
    }
    while (next < places.size()) needle(places[next++].second);
    while (text.back() == '\n' || text.back() == ' ') text.pop_back();
    text += "\n" + quiz_.question;
    prompt->text = std::move(text);
    if (options_.chat) {
      DAPPLE_ASSIGN_OR_RETURN(
          prompt->ids,
          EncodeChat(tokenizer_, {"", prompt->text, prompt->lead_in}, false));
    } else {
      DAPPLE_ASSIGN_OR_RETURN(
          prompt->ids, tokenizer_.Encode(prompt->text + prompt->lead_in, {}));
    }
    return Status::Ok();
  }

  const Tokenizer& tokenizer_;
  const NeedleQuiz& quiz_;
  const NeedlePromptOptions& options_;
  Haystack& haystack_;
  std::vector<double> depths_;
  std::vector<Straw> straws_;
  std::vector<Straw> spare_;  // drawn and given back, the next one last
  size_t total_ = 0;          // tokens of straws_, by the estimate
  size_t longest_ = 0;        // tokens of the longest straw
  bool cut_ = false;          // the last straw is not whole
};

}  // namespace

Result<HaystackText> HaystackText::Split(const std::string& name,
                                         const std::string& text) {
  HaystackText haystack;
  std::vector<dapple::Sentence> sentences = SplitSentences(text);
  for (size_t i = 0; i < sentences.size(); ++i) {
    const bool last = i + 1 == sentences.size() ||
                      sentences[i + 1].paragraph != sentences[i].paragraph;
    haystack.sentences.push_back({std::move(sentences[i].text), last});
  }
  constexpr size_t kLeast = 10;
  if (haystack.sentences.size() < kLeast)
    return InvalidArgument(
        name + ": has " + std::to_string(haystack.sentences.size()) +
        " sentences, a haystack needs at least " + std::to_string(kLeast));
  return haystack;
}

Result<NeedlePrompt> MakePrompt(const Tokenizer& tokenizer,
                                const NeedleTask& task, size_t length,
                                size_t sample, double depth,
                                const NeedlePromptOptions& options) {
  NeedleRandom random(
      NeedleRandom::SeedOf(options.seed, task.name, length, sample));
  const NeedleQuiz quiz = MakeQuiz(task, &random);
  const auto haystack = MakeHaystack(task, quiz, options, random.Next());
  std::vector<double> depths;
  for (size_t i = 0; i < quiz.needles.size(); ++i)
    depths.push_back(random.Unit());
  if (quiz.in_order)
    std::sort(depths.begin(), depths.end());
  else
    depths[0] = depth;
  Filler filler(tokenizer, quiz, options, haystack.get());
  filler.SetDepths(std::move(depths));
  DAPPLE_ASSIGN_OR_RETURN(NeedlePrompt prompt, filler.Fill(length));
  prompt.depth = depth;
  return prompt;
}

}  // namespace dapple::tool
