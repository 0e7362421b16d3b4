#include "summary_documents.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

namespace dapple::tool {
namespace {

using Json = nlohmann::json;

Result<SummaryDocument> ParseLine(const std::string& where,
                                  const std::string& text) {
  // Does not throw like this.
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    return Corrupt(where + " is not a JSON object in UTF-8");
  SummaryDocument document;
  const struct {
    const char* name;
    std::string* text;
    bool needed;
  } fields[] = {{"source", &document.source, false},
                {"task", &document.task, false},
                {"document", &document.document, true},
                {"question", &document.question, true},
                {"answer", &document.answer, true}};
  for (const auto& field : fields) {
    const auto found = json.find(field.name);
    const bool there = found != json.end();
    if ((there && !found->is_string()) || (!there && field.needed))
      return Corrupt(where + " has no text \"" + field.name + "\"");
    if (there) *field.text = found->get<std::string>();
    if (field.needed &&
        field.text->find_first_not_of(" \t\r\n") == std::string::npos)
      return Corrupt(where + ": \"" + field.name + "\" is blank");
  }
  return document;
}

}  // namespace

Result<std::vector<SummaryDocument>> ParseDocuments(
    const std::string& name, const std::string& bytes,
    const DocumentChoice& choice) {
  std::map<std::string, std::vector<SummaryDocument>> sources;
  size_t number = 0;
  for (size_t begin = 0; begin < bytes.size();) {
    const size_t end = std::min(bytes.find('\n', begin), bytes.size());
    const std::string text = bytes.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    DAPPLE_ASSIGN_OR_RETURN(
        SummaryDocument document,
        ParseLine(name + ": line " + std::to_string(number), text));
    document.line = number;
    sources[document.source].push_back(std::move(document));
  }
  for (const std::string& source : choice.sources)
    if (sources.count(source) == 0)
      return InvalidArgument(name + ": has no document of source '" + source +
                             "'");
  size_t longest = 0;
  for (auto it = sources.begin(); it != sources.end();) {
    const auto& wanted = choice.sources;
    if (!wanted.empty() &&
        std::find(wanted.begin(), wanted.end(), it->first) == wanted.end()) {
      it = sources.erase(it);
      continue;
    }
    if (choice.per_source != 0 && it->second.size() > choice.per_source)
      it->second.resize(choice.per_source);
    longest = std::max(longest, it->second.size());
    ++it;
  }
  std::vector<SummaryDocument> documents;
  for (size_t i = 0; i < longest; ++i)
    for (auto& [source, list] : sources)
      if (i < list.size()) documents.push_back(std::move(list[i]));
  if (documents.empty()) return InvalidArgument(name + ": has no documents");
  return documents;
}

}  // namespace dapple::tool
