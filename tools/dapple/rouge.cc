#include "rouge.h"

#include <algorithm>

namespace dapple::tool {
namespace {

// Length of the longest common subsequence; one row of the usual table.
size_t CommonLength(const std::vector<std::string>& a,
                    const std::vector<std::string>& b) {
  std::vector<size_t> row(b.size() + 1, 0);
  for (const std::string& word : a) {
    size_t diagonal = 0;  // the row above, one to the left
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = word == b[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
    }
  }
  return row.back();
}

}  // namespace

std::vector<std::string> RougeWords(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false;
  for (char c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (letter) {
      if (!inside) words.emplace_back();
      words.back() += c;
    }
    inside = letter;
  }
  return words;
}

Rouge RougeL(std::string_view text, std::string_view reference) {
  const std::vector<std::string> words = RougeWords(text);
  const std::vector<std::string> wanted = RougeWords(reference);
  Rouge rouge;
  if (words.empty() || wanted.empty()) return rouge;
  const double common = static_cast<double>(CommonLength(words, wanted));
  rouge.precision = common / static_cast<double>(words.size());
  rouge.recall = common / static_cast<double>(wanted.size());
  if (common > 0)
    rouge.f1 =
        2 * rouge.precision * rouge.recall / (rouge.precision + rouge.recall);
  return rouge;
}

}  // namespace dapple::tool
