// Sections: a document cut into parts that fit a model's context.
#ifndef DAPPLE_TOOLS_SECTIONS_H_
#define DAPPLE_TOOLS_SECTIONS_H_

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace dapple::tool {

struct Section {
  size_t begin = 0;  // bytes of the document
  size_t end = 0;
};

// Cuts `text` into consecutive sections of at most `budget` tokens, as equal
// as borders allow: before headings (Markdown's, "CHAPTER IV", lines of
// capitals), else between paragraphs, else between lines, else between words.
// `count` tells the tokens of a piece; a section's tokens are taken as the sum
// of its paragraphs'. Every byte is in exactly one section; none is empty.
std::vector<Section> SplitSections(
    std::string_view text, size_t budget,
    const std::function<size_t(std::string_view)>& count);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_SECTIONS_H_
