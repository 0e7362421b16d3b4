// Sentences of a document: what may be quoted from it.
//
// Rules of thumb, not a grammar; a wrong guess costs a sentence that is too
// long or is left out, never one that the document does not contain.
// - Paragraphs are blocks of lines between blank lines, numbered from 1 in the
//   order a reader counts them (headings, lists and code count too). In a block
//   with a very long line, every line is a paragraph.
// - Lines of hard-wrapped text are joined by a space; each run of white space
//   becomes one space. Nothing else in a sentence changes.
// - Sentences end in . ! ? … (or 。！？), with closing quotes and brackets,
//   before a space and something that can begin a sentence. Abbreviations,
//   initials, decimal numbers and "..." before a small letter do not end one.
// - Left out: headings, list lead-ins and other text without an end mark, code
//   fences, tables, list items that are mere fragments, single words.
// - Markdown's leading #, >, bullets and item numbers are not part of the text.
#ifndef DAPPLE_SENTENCES_H_
#define DAPPLE_SENTENCES_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace dapple {

struct Sentence {
  std::string text;        // one line, single spaces
  size_t paragraph = 0;    // 1-based
  size_t byte_offset = 0;  // into the document
  size_t byte_length = 0;  // from the first to the last byte, breaks included
};

// In document order. `document` should be valid UTF-8 (other bytes pass
// through untouched).
std::vector<Sentence> SplitSentences(std::string_view document);

}  // namespace dapple

#endif  // DAPPLE_SENTENCES_H_
