// NeedleProse: grammatical English written from a seed, to hide needles in.
//
// A small grammar of its own: paragraphs stay with one scene (a place, one or
// two people, a trade), sentences are drawn from patterns whose slots are
// filled from lists of words. It means little, but it varies: no pattern comes
// twice in a row, and people and places change with every paragraph. It holds
// no digits, so that no number in it can pass for an answer.
#ifndef DAPPLE_TOOLS_NEEDLE_PROSE_H_
#define DAPPLE_TOOLS_NEEDLE_PROSE_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "needle_random.h"

namespace dapple::tool {

class NeedleProse {
 public:
  explicit NeedleProse(uint64_t seed);

  // The next sentence, with its full stop, without surrounding space.
  std::string NextSentence();
  // Whether the last sentence ended its paragraph.
  bool paragraph_ended() const { return left_ == 0; }

 private:
  struct Person {
    std::string_view name;
    bool woman = false;
  };

  void BeginParagraph();
  Person PickPerson();
  // What stands in the place of "{slot}".
  std::string Fill(std::string_view slot);
  std::string Expand(std::string_view pattern);

  NeedleRandom random_;
  size_t left_ = 0;  // sentences of this paragraph still to come
  bool first_ = false;
  Person person_;  // whom the paragraph is about
  Person other_;
  std::string_view town_;
  std::string_view trade_;
  std::array<size_t, 12> recent_;  // patterns used last
  size_t written_ = 0;
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_NEEDLE_PROSE_H_
