#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "command.h"
#include "dapple/tokenizer.h"

namespace dapple::tool {
namespace {

constexpr const char* kEmbeddedModel = "dapple-40m-q8_0.gguf";

}  // namespace

int Fail(const Status& status) {
  if (status.code() == StatusCode::kCancelled) return kExitInterrupted;
  std::fprintf(stderr, "dapple: %s\n", status.message().c_str());
  return status.code() == StatusCode::kDoesNotFit ? kExitDoesNotFit
                                                  : kExitFailure;
}

Result<std::string> ReadFile(const std::string& path) {
  const bool standard_input = path == "-";
  const std::string name = standard_input ? "standard input" : path;
  std::FILE* file = standard_input ? stdin : std::fopen(path.c_str(), "rb");
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

Result<std::string> ReadText(const std::string& path) {
  DAPPLE_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
  const std::string name = path == "-" ? "standard input" : path;
  size_t bad = 0;
  if (!IsValidUtf8(text, &bad))
    return Corrupt(name + ": not UTF-8 text (byte " + std::to_string(bad) +
                   ")");
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  size_t out = 0;
  for (size_t i = 0; i < text.size(); ++i)
    if (!(text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n'))
      text[out++] = text[i];
  text.resize(out);
  if (text.find_first_not_of(" \t\r\n") == std::string::npos)
    return InvalidArgument(name + ": there is no text in it");
  return text;
}

std::string DefaultModelPath() {
  if (const char* chosen = std::getenv("DAPPLE_MODEL");
      chosen != nullptr && *chosen != '\0')
    return chosen;
  std::error_code error;
  std::filesystem::path folder =
      std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  while (!error && !folder.empty()) {
    for (const char* place : {"share/dapple/models", "models"}) {
      const std::filesystem::path candidate = folder / place / kEmbeddedModel;
      if (std::filesystem::exists(candidate, error)) return candidate;
    }
    if (folder == folder.root_path()) break;
    folder = folder.parent_path();
  }
  return "";
}

Result<size_t> ParseLength(const std::string& text) {
  const bool kilo = text.ends_with('k') || text.ends_with('K');
  const char* end = text.data() + text.size() - (kilo ? 1 : 0);
  size_t value = 0;
  const auto parsed = std::from_chars(text.data(), end, value);
  constexpr size_t kMost = size_t{1} << 24;
  if (parsed.ec != std::errc() || parsed.ptr != end || value == 0 ||
      value > (kilo ? kMost / 1024 : kMost))
    return InvalidArgument("--length '" + text +
                           "': a number of tokens like 8k or 8192 is needed");
  return kilo ? value * 1024 : value;
}

std::string HumanBytes(double bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit < 4) {
    bytes /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f %s" : "%.1f %s", bytes,
                units[unit]);
  return text;
}

std::string Grouped(uint64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i != 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string Printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7F ? '?' : c;
  }
  return out;
}

}  // namespace dapple::tool
