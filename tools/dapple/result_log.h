// ResultLog: the results of a long run, kept in a file so that it can go on.
//
// One JSON object a line: first the settings that every result depends on,
// then the results, each written and flushed when it is there. Opening the
// file again reads them back; a last line that was cut short by a crash is
// dropped. The file is locked while a log is open.
#ifndef DAPPLE_TOOLS_RESULT_LOG_H_
#define DAPPLE_TOOLS_RESULT_LOG_H_

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "dapple/status.h"

namespace dapple::tool {

class ResultLog {
 public:
  using Json = nlohmann::ordered_json;
  // Takes one result read back; may throw nlohmann's exceptions where it is
  // not of the kind expected.
  using Reader = std::function<void(const Json&)>;

  ~ResultLog();
  ResultLog(const ResultLog&) = delete;
  ResultLog& operator=(const ResultLog&) = delete;

  // FOLDER/name; makes the folder if need be. `command` wrote it: named in
  // messages. kInvalidArgument when the results there are of other settings
  // (the message names the differences), kCorrupt with the line's number when
  // a line makes no sense.
  static Result<std::unique_ptr<ResultLog>> Open(const std::string& folder,
                                                 const std::string& name,
                                                 const std::string& command,
                                                 const Json& settings,
                                                 const Reader& reader);

  // Half a character that ends a text is replaced, not refused.
  Status Append(const Json& result);

  // Replaces FOLDER/name, whole or not at all.
  static Status WriteFile(const std::string& folder, const std::string& name,
                          const std::string& bytes);

 private:
  ResultLog() = default;
  Status Load(const std::string& command, const Json& settings,
              const Reader& reader);

  std::string path_;
  int file_ = -1;
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_RESULT_LOG_H_
