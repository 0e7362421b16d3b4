#include "convert/json_file.h"

#include <unordered_set>
#include <utility>

#include "util/mmap_file.h"

namespace dapple {

using nlohmann::json;

Result<json> ParseJsonObject(std::string_view text, const std::string& path) {
  std::unordered_set<std::string> keys;
  std::string twice;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth == 1 && event == json::parse_event_t::key) {
      const std::string* key = parsed.get_ptr<const std::string*>();
      if (key != nullptr && !keys.insert(*key).second) twice = *key;
    }
    return true;
  };
  json parsed = json::parse(text.begin(), text.end(), watch,
                            /*allow_exceptions=*/false);
  if (parsed.is_discarded()) return Corrupt(path + ": not valid JSON");
  if (!parsed.is_object()) return Corrupt(path + ": not a JSON object");
  if (!twice.empty()) return Corrupt(path + ": '" + twice + "' occurs twice");
  return parsed;
}

Result<json> ReadJsonObject(const std::string& path) {
  DAPPLE_ASSIGN_OR_RETURN(const MmapFile file, MmapFile::Open(path));
  return ParseJsonObject(
      std::string_view(reinterpret_cast<const char*>(file.bytes().data()),
                       file.bytes().size()),
      path);
}

const json* JsonFields::Find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

Status JsonFields::Wrong(const char* key, const std::string& why) const {
  return Corrupt(path_ + ": '" + key + "' " + why);
}

Result<std::optional<uint64_t>> JsonFields::Uint(const char* key) const {
  const json* value = Find(key);
  if (value == nullptr) return std::optional<uint64_t>();
  if (!value->is_number_unsigned())
    return Wrong(key, "is not a non-negative integer");
  return std::optional<uint64_t>(*value->get_ptr<const uint64_t*>());
}

Result<std::optional<double>> JsonFields::Number(const char* key) const {
  const json* value = Find(key);
  if (value == nullptr) return std::optional<double>();
  if (!value->is_number()) return Wrong(key, "is not a number");
  return std::optional<double>(value->get<double>());
}

Result<std::optional<bool>> JsonFields::Bool(const char* key) const {
  const json* value = Find(key);
  if (value == nullptr) return std::optional<bool>();
  if (!value->is_boolean()) return Wrong(key, "is neither true nor false");
  return std::optional<bool>(value->get<bool>());
}

Result<std::optional<std::string>> JsonFields::String(const char* key) const {
  const json* value = Find(key);
  if (value == nullptr) return std::optional<std::string>();
  const std::string* text = value->get_ptr<const std::string*>();
  if (text == nullptr) return Wrong(key, "is not a string");
  return std::optional<std::string>(*text);
}

}  // namespace dapple
