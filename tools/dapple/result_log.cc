#include "result_log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace dapple::tool {
namespace {

using Json = ResultLog::Json;

std::string Reason() { return std::strerror(errno); }

// "seed 0 there, 1 now; …"
std::string Differences(const Json& there, const Json& now) {
  std::string text;
  const auto add = [&](const std::string& key, const Json& a, const Json& b) {
    text += (text.empty() ? "" : "; ") + key + " is " + a.dump() + " there, " +
            b.dump() + " now";
  };
  for (const auto& [key, value] : now.items()) {
    const Json old = there.contains(key) ? there.at(key) : Json();
    if (old != value) add(key, old, value);
  }
  for (const auto& [key, value] : there.items())
    if (!now.contains(key)) add(key, value, Json());
  return text;
}

Result<std::string> ReadAll(int file, const std::string& path) {
  std::string bytes;
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = read(file, buffer, sizeof(buffer));
    if (got == 0) return bytes;
    if (got < 0) {
      if (errno == EINTR) continue;
      return IoError(path + ": " + Reason());
    }
    bytes.append(buffer, static_cast<size_t>(got));
  }
}

Status WriteLine(int file, const std::string& path, const std::string& line) {
  const std::string bytes = line + "\n";
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = write(file, bytes.data() + done, bytes.size() - done);
    if (put < 0) {
      if (errno == EINTR) continue;
      return IoError(path + ": " + Reason());
    }
    done += static_cast<size_t>(put);
  }
  return Status::Ok();
}

}  // namespace

ResultLog::~ResultLog() {
  if (file_ >= 0) close(file_);
}

Result<std::unique_ptr<ResultLog>> ResultLog::Open(const std::string& folder,
                                                   const std::string& name,
                                                   const std::string& command,
                                                   const Json& settings,
                                                   const Reader& reader) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return IoError(folder + ": " + error.message());
  std::unique_ptr<ResultLog> log(new ResultLog);
  log->path_ = (std::filesystem::path(folder) / name).string();
  log->file_ =
      open(log->path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (log->file_ < 0) return IoError(log->path_ + ": " + Reason());
  if (flock(log->file_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      return InvalidArgument(log->path_ + ": another run is writing to it");
    return IoError(log->path_ + ": " + Reason());
  }
  DAPPLE_RETURN_IF_ERROR(log->Load(command, settings, reader));
  return log;
}

Status ResultLog::Load(const std::string& command, const Json& settings,
                       const Reader& reader) {
  DAPPLE_ASSIGN_OR_RETURN(const std::string bytes, ReadAll(file_, path_));
  const size_t last = bytes.rfind('\n');
  const size_t whole = last == std::string::npos ? 0 : last + 1;
  if (whole != bytes.size() && ftruncate(file_, static_cast<off_t>(whole)) != 0)
    return IoError(path_ + ": " + Reason());
  if (whole == 0)
    return WriteLine(file_, path_, Json{{"settings", settings}}.dump());
  size_t number = 0;
  for (size_t begin = 0; begin < whole;) {
    const size_t end = bytes.find('\n', begin);
    ++number;
    const auto at = [&] { return path_ + ": line " + std::to_string(number); };
    // What nlohmann throws must not leave this function.
    try {
      const Json json = Json::parse(bytes.begin() + static_cast<long>(begin),
                                    bytes.begin() + static_cast<long>(end));
      if (number > 1) {
        reader(json);
      } else if (json.at("settings") != settings) {
        return InvalidArgument(
            path_ + ": made with other settings, choose another folder (" +
            Differences(json.at("settings"), settings) + ")");
      }
    } catch (const nlohmann::json::exception&) {
      return Corrupt(at() + " is not a line of `" + command + "`");
    }
    begin = end + 1;
  }
  return Status::Ok();
}

Status ResultLog::Append(const Json& result) {
  return WriteLine(file_, path_,
                   result.dump(-1, ' ', false, Json::error_handler_t::replace));
}

Status ResultLog::WriteFile(const std::string& folder, const std::string& name,
                            const std::string& bytes) {
  const std::string path = (std::filesystem::path(folder) / name).string();
  const std::string part = path + ".part";
  std::FILE* file = std::fopen(part.c_str(), "wb");
  if (file == nullptr) return IoError(path + ": " + Reason());
  bool good = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  good = std::fclose(file) == 0 && good;
  if (good && std::rename(part.c_str(), path.c_str()) == 0) return Status::Ok();
  const Status status = IoError(path + ": " + Reason());
  std::remove(part.c_str());
  return status;
}

}  // namespace dapple::tool
