// What tests that run the dapple command share.
#ifndef DAPPLE_TESTS_COMMAND_TEXT_H_
#define DAPPLE_TESTS_COMMAND_TEXT_H_

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace dapple::test {

inline std::string Env(const char* name) {
  const char* value = std::getenv(name);
  REQUIRE_MESSAGE(value != nullptr, name);
  return value;
}

inline std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// About `words` words in sentences that are all different.
inline std::string Prose(size_t words) {
  const char* subjects[] = {"The miller", "A clerk", "Our neighbour",
                            "The old ferry", "Somebody"};
  const char* verbs[] = {"repaired", "watched", "carried", "forgot", "painted"};
  const char* objects[] = {"the gate", "a basket of pears", "the long ledger",
                           "two lamps", "the harbour wall"};
  std::string text;
  for (size_t i = 0; i * 9 < words; ++i)
    text += std::string(subjects[i % 5]) + " " + verbs[i / 5 % 5] + " " +
            objects[i / 25 % 5] + " on day " + std::to_string(i) +
            " of the year. ";
  return text;
}

}  // namespace dapple::test

#endif  // DAPPLE_TESTS_COMMAND_TEXT_H_
