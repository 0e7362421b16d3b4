// JSON files of a model folder, read without exceptions.
//
// Look-ups are typed: a key of a wrong type is an error that names file and
// key, never a silent default.
#ifndef DAPPLE_CONVERT_JSON_FILE_H_
#define DAPPLE_CONVERT_JSON_FILE_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "dapple/status.h"

namespace dapple {

// Parses an object. kCorrupt when `text` is not JSON, is not an object, or
// names a key of the outermost object twice (JSON parsers differ in which one
// they keep, so neither can be trusted).
Result<nlohmann::json> ParseJsonObject(std::string_view text,
                                       const std::string& path);

// The file at `path` as ParseJsonObject gives it; kNotFound when missing.
Result<nlohmann::json> ReadJsonObject(const std::string& path);

// A view of one object for typed look-ups; borrows both arguments.
class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, const std::string& path)
      : object_(object), path_(path) {}

  // nullptr when absent or null: configuration files use both for "unset".
  const nlohmann::json* Find(const char* key) const;
  // Also true for null.
  bool Has(const char* key) const { return object_.contains(key); }

  // nullopt: absent or null.
  Result<std::optional<uint64_t>> Uint(const char* key) const;
  Result<std::optional<double>> Number(const char* key) const;
  Result<std::optional<bool>> Bool(const char* key) const;
  Result<std::optional<std::string>> String(const char* key) const;

  Status Wrong(const char* key, const std::string& why) const;

 private:
  const nlohmann::json& object_;
  const std::string& path_;
};

}  // namespace dapple

#endif  // DAPPLE_CONVERT_JSON_FILE_H_
