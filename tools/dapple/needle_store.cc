#include "needle_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace dapple::tool {
namespace {

using Json = nlohmann::ordered_json;

std::string Reason() { return std::strerror(errno); }

Json ToJson(const NeedleRecord& r) {
  Json json;
  json["task"] = r.task;
  json["length"] = r.length;
  json["sample"] = r.sample;
  json["policy"] = r.policy;
  json["keep"] = r.keep;
  json["depth"] = r.depth;
  json["score"] = r.score;
  json["expected"] = r.expected;
  json["output"] = r.output;
  json["stop"] = r.stop;
  json["prompt_tokens"] = r.prompt_tokens;
  json["generated_tokens"] = r.generated_tokens;
  json["kept_share"] = r.kept_share;
  if (r.min_coverage >= 0) {
    json["min_coverage"] = r.min_coverage;
    json["median_coverage"] = r.median_coverage;
  }
  json["prefill_s"] = r.prefill_s;
  json["decode_s"] = r.decode_s;
  return json;
}

NeedleRecord FromJson(const Json& json) {
  NeedleRecord r;
  json.at("task").get_to(r.task);
  json.at("length").get_to(r.length);
  json.at("sample").get_to(r.sample);
  json.at("policy").get_to(r.policy);
  json.at("keep").get_to(r.keep);
  json.at("depth").get_to(r.depth);
  json.at("score").get_to(r.score);
  json.at("expected").get_to(r.expected);
  json.at("output").get_to(r.output);
  json.at("stop").get_to(r.stop);
  json.at("prompt_tokens").get_to(r.prompt_tokens);
  json.at("generated_tokens").get_to(r.generated_tokens);
  json.at("kept_share").get_to(r.kept_share);
  r.min_coverage = json.value("min_coverage", -1.0);
  r.median_coverage = json.value("median_coverage", -1.0);
  json.at("prefill_s").get_to(r.prefill_s);
  json.at("decode_s").get_to(r.decode_s);
  return r;
}

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

}  // namespace

NeedleStore::~NeedleStore() {
  if (file_ >= 0) close(file_);
}

Result<std::unique_ptr<NeedleStore>> NeedleStore::Open(
    const std::string& folder, const Json& settings) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return IoError(folder + ": " + error.message());
  auto store = std::make_unique<NeedleStore>();
  store->path_ = (std::filesystem::path(folder) / "samples.jsonl").string();
  store->file_ =
      open(store->path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (store->file_ < 0) return IoError(store->path_ + ": " + Reason());
  if (flock(store->file_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      return InvalidArgument(store->path_ + ": another run is writing to it");
    return IoError(store->path_ + ": " + Reason());
  }
  DAPPLE_RETURN_IF_ERROR(store->Load(settings));
  return store;
}

Status NeedleStore::Load(const Json& settings) {
  DAPPLE_ASSIGN_OR_RETURN(const std::string bytes, ReadAll(file_, path_));
  const size_t last = bytes.rfind('\n');
  const size_t whole = last == std::string::npos ? 0 : last + 1;
  if (whole != bytes.size() && ftruncate(file_, static_cast<off_t>(whole)) != 0)
    return IoError(path_ + ": " + Reason());
  if (whole == 0) return WriteLine(Json{{"settings", settings}}.dump());
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
        Remember(FromJson(json));
      } else if (json.at("settings") != settings) {
        return InvalidArgument(
            path_ + ": made with other settings, choose another folder (" +
            Differences(json.at("settings"), settings) + ")");
      }
    } catch (const nlohmann::json::exception&) {
      return Corrupt(at() + " is not a line of `dapple eval needle`");
    }
    begin = end + 1;
  }
  return Status::Ok();
}

bool NeedleStore::Has(const std::string& task, size_t length, size_t sample,
                      const std::string& policy,
                      const std::string& keep) const {
  return keys_.count({task, length, sample, policy, keep}) != 0;
}

void NeedleStore::Remember(NeedleRecord record) {
  const bool is_new = keys_
                          .insert({record.task, record.length, record.sample,
                                   record.policy, record.keep})
                          .second;
  if (is_new) records_.push_back(std::move(record));
}

Status NeedleStore::Append(NeedleRecord record) {
  // Half a character may end an answer: it is replaced, not refused.
  if (file_ >= 0)
    DAPPLE_RETURN_IF_ERROR(WriteLine(ToJson(record).dump(
        -1, ' ', false, nlohmann::json::error_handler_t::replace)));
  Remember(std::move(record));
  return Status::Ok();
}

Status NeedleStore::WriteLine(const std::string& line) {
  const std::string bytes = line + "\n";
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = write(file_, bytes.data() + done, bytes.size() - done);
    if (put < 0) {
      if (errno == EINTR) continue;
      return IoError(path_ + ": " + Reason());
    }
    done += static_cast<size_t>(put);
  }
  return Status::Ok();
}

Status NeedleStore::WriteFile(const std::string& folder,
                              const std::string& name,
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
