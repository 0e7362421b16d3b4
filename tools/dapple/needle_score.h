// What an answer is worth, and how sure a mean of such scores is.
#ifndef DAPPLE_TOOLS_NEEDLE_SCORE_H_
#define DAPPLE_TOOLS_NEEDLE_SCORE_H_

#include <cstddef>
#include <string>
#include <vector>

namespace dapple::tool {

// RULER's string_match_all: the share of `expected` (not empty) that occurs in
// `output`, capitals or not (ASCII).
double ShareFound(const std::string& output,
                  const std::vector<std::string>& expected);

struct Interval {
  double low = 0;
  double high = 1;
};

// Wilson's 95 % score interval (Wilson 1927) of a share `mean` of `count`
// samples. A sample with several answers may score between 0 and 1: its
// answers are not independent, so `count` is the number of samples, which for
// such tasks makes the interval rather too wide than too narrow. [0, 1] for
// none.
Interval WilsonInterval(double mean, size_t count);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_NEEDLE_SCORE_H_
