#include <cerrno>
#include <cstdio>
#include <cstring>

#include "command.h"

namespace dapple::tool {

int Fail(const Status& status) {
  std::fprintf(stderr, "dapple: %s\n", status.message().c_str());
  return status.code() == StatusCode::kDoesNotFit ? kExitNoFit : kExitFailure;
}

Result<std::string> ReadFile(const std::string& path) {
  const bool standard_input = path == "-";
  const std::string name = standard_input ? "standard input" : path;
  std::FILE* file =
      standard_input ? stdin : std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    const std::string why = name + ": " + std::strerror(errno);
    return errno == ENOENT ? NotFound(why) : IoError(why);
  }
  std::string text;
  char buffer[1 << 16];
  size_t got;
  while ((got = std::fread(buffer, 1, sizeof(buffer), file)) > 0)
    text.append(buffer, got);
  const bool bad = std::ferror(file) != 0;
  const int error = errno;
  if (!standard_input) std::fclose(file);
  if (bad) return IoError(name + ": " + std::strerror(error));
  return text;
}

}  // namespace dapple::tool
