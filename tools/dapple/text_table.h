// TextTable: rows of UTF-8 cells, laid out for a terminal or as Markdown.
#ifndef DAPPLE_TOOLS_TEXT_TABLE_H_
#define DAPPLE_TOOLS_TEXT_TABLE_H_

#include <string>
#include <vector>

namespace dapple::tool {

// The first row is the head; all rows have as many cells.
using TextTable = std::vector<std::vector<std::string>>;

// Columns of equal width, the first to the left, the others to the right.
std::string Laid(const TextTable& table);
// A pipe table of the same alignment; `|` in cells is escaped.
std::string Markdown(const TextTable& table);

// printf of one number.
std::string Format(const char* format, double value);

// RFC 4180: quoted where it must be.
std::string CsvField(const std::string& text);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_TEXT_TABLE_H_
