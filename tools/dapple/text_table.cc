#include "text_table.h"

#include <algorithm>
#include <cstdio>

namespace dapple::tool {
namespace {

// Width in columns of UTF-8 text.
size_t Columns(const std::string& text) {
  size_t columns = 0;
  for (char c : text)
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) ++columns;
  return columns;
}

std::string Padded(std::string text, size_t columns, bool right) {
  const size_t width = Columns(text);
  if (width >= columns) return text;
  const std::string space(columns - width, ' ');
  return right ? space + text : text + space;
}

}  // namespace

std::string Laid(const TextTable& table) {
  std::vector<size_t> widths(table[0].size(), 0);
  for (const auto& row : table)
    for (size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], Columns(row[i]));
  std::string out;
  for (const auto& row : table) {
    for (size_t i = 0; i < row.size(); ++i)
      out += (i == 0 ? "" : "  ") + Padded(row[i], widths[i], i != 0);
    out += '\n';
  }
  return out;
}

std::string Markdown(const TextTable& table) {
  std::string out;
  for (size_t i = 0; i < table.size(); ++i) {
    for (const std::string& cell : table[i]) {
      out += "| ";
      for (char c : cell) out += c == '|' ? "\\|" : std::string(1, c);
      out += ' ';
    }
    out += "|\n";
    if (i != 0) continue;
    for (size_t j = 0; j < table[0].size(); ++j)
      out += j == 0 ? "|---" : "|---:";
    out += "|\n";
  }
  return out;
}

std::string Format(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

std::string CsvField(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string out = "\"";
  for (char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

}  // namespace dapple::tool
