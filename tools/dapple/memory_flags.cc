#include "memory_flags.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <CLI/Validators.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "command.h"
#include "dapple/default_cap.h"

namespace dapple::tool {
namespace {

template <class T>
CLI::Validator Accepts(Result<T> (*parse)(std::string_view)) {
  return CLI::Validator(
      [parse](std::string& text) {
        const auto parsed = parse(text);
        return parsed.ok() ? std::string() : parsed.status().message();
      },
      "");
}

std::string ShareText(size_t kept, size_t of) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f %%",
                100.0 * static_cast<double>(kept) / static_cast<double>(of));
  return kept == of ? "all" : text;
}

}  // namespace

void MemoryFlags::AddTo(CLI::App& command) {
  command
      .add_option("--ram", ram,
                  "memory the whole process may take, such as 512M (default: "
                  "what is available, less a twentieth)")
      ->check(Accepts(ParseBytes))
      ->type_name("SIZE");
  command
      .add_option("--schedule", schedule,
                  "auto, exact, exact-q8, exact-spill or streaming")
      ->check(Accepts(ParseSchedule))
      ->capture_default_str();
  command
      .add_option("--weights", weights,
                  "the weights: auto (copied into huge pages where memory "
                  "has room for the file's, too), resident, reread (dropped "
                  "while the prompt is read) or streamed (read for every "
                  "token)")
      ->check(Accepts(ParseResidency))
      ->capture_default_str();
  command
      .add_option("--kv", kv, "keys and values kept as: auto, f16, q8 or q4")
      ->check(Accepts(ParseKvPrecision))
      ->capture_default_str();
  command
      .add_option("--spill", spill,
                  "folder on a disk where the residual stream may be kept")
      ->type_name("DIR");
  command
      .add_option("--chunk", chunk,
                  "tokens of a chunk of the streaming schedule")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->type_name("N");
}

Status MemoryFlags::Apply(MemoryOptions* memory,
                          std::string* cap_source) const {
  DAPPLE_ASSIGN_OR_RETURN(memory->schedule, ParseSchedule(schedule));
  DAPPLE_ASSIGN_OR_RETURN(memory->weights, ParseResidency(weights));
  DAPPLE_ASSIGN_OR_RETURN(memory->kv, ParseKvPrecision(kv));
  memory->spill_folder = spill;
  memory->chunk_tokens = chunk;
  if (!ram.empty()) {
    DAPPLE_ASSIGN_OR_RETURN(memory->ram_bytes, ParseBytes(ram));
    *cap_source = "--ram";
    return Status::Ok();
  }
  const AvailableMemory cap = FindDefaultCap();
  memory->ram_bytes = cap.bytes;
  *cap_source = cap.source;
  return Status::Ok();
}

void PrintPlan(const PlanReport& report, const std::string& cap_source,
               std::FILE* out) {
  const auto cells = [&](const std::string& name, uint64_t prefill,
                         uint64_t decode) {
    std::fprintf(out, "  %-34s %12s %12s\n", name.c_str(),
                 BytesText(prefill).c_str(), BytesText(decode).c_str());
  };
  std::fprintf(
      out, "plan for %s prompt tokens; cap %s (%s)\n",
      Grouped(report.prompt_tokens).c_str(),
      report.cap_bytes == 0 ? "none" : BytesText(report.cap_bytes).c_str(),
      cap_source.c_str());
  if (report.fits()) {
    const PlannedSchedule& way = report.Chosen();
    std::fprintf(out, "  %-34s %12s %12s\n", way.Name().c_str(), "reading",
                 "writing");
    for (const MemoryPart& part : way.plan.parts)
      cells(part.name, part.prefill, part.decode);
    cells("total", way.plan.PrefillBytes(), way.plan.DecodeBytes());
    if (way.plan.spill_bytes != 0)
      std::fprintf(out, "  on disk: %s\n",
                   BytesText(way.plan.spill_bytes).c_str());
    if (way.reread_per_token != 0) {
      // Where the page cache cannot hold them, the medium's speed is the
      // limit: a common SSD's, a common memory card's.
      const double bytes = static_cast<double>(way.reread_per_token);
      std::fprintf(out,
                   "  every generated token reads %s of weights again: at most "
                   "%.1f tokens/s from a disk of 500 MB/s, %.1f from a card of "
                   "90 MB/s\n",
                   BytesText(way.reread_per_token).c_str(), 500e6 / bytes,
                   90e6 / bytes);
    }
  }
  for (size_t i = 0; i < report.candidates.size(); ++i) {
    const PlannedSchedule& way = report.candidates[i];
    std::fprintf(
        out, "%c %-46s %11s  %s\n", i == report.chosen ? '*' : ' ',
        way.Name().c_str(), BytesText(way.plan.TotalBytes()).c_str(),
        way.fits ? ("keeps " + ShareText(way.keep_tokens, report.prompt_tokens))
                       .c_str()
                 : "does not fit");
  }
  if (report.fits()) {
    std::fprintf(out, "taken: %s: %s", report.Chosen().Name().c_str(),
                 report.reason.c_str());
    if (report.longest_prompt != 0)
      std::fprintf(out, "; prompts of up to %s tokens fit this way",
                   Grouped(report.longest_prompt).c_str());
    std::fprintf(out, "\n");
  }
}

std::string PlanJson(const PlanReport& report, const std::string& cap_source) {
  using Json = nlohmann::ordered_json;
  Json json = {{"prompt_tokens", report.prompt_tokens},
               {"cap_bytes", report.cap_bytes},
               {"cap_source", cap_source},
               {"fits", report.fits()}};
  json["chosen"] = report.fits() ? Json(report.chosen) : Json();
  json["reason"] = report.reason;
  json["longest_prompt"] = report.longest_prompt;
  json["suggestions"] = report.suggestions;
  json["schedules"] = Json::array();
  for (const PlannedSchedule& way : report.candidates) {
    Json parts = Json::array();
    for (const MemoryPart& part : way.plan.parts)
      parts.push_back({{"name", part.name},
                       {"prefill_bytes", part.prefill},
                       {"decode_bytes", part.decode},
                       {"in_arena", part.in_arena}});
    json["schedules"].push_back(
        {{"schedule", std::string(NameOf(way.schedule))},
         {"weights", std::string(NameOf(way.weights))},
         {"kv", std::string(NameOf(way.kv))},
         {"fits", way.fits},
         {"keep_tokens", way.keep_tokens},
         {"total_bytes", way.plan.TotalBytes()},
         {"prefill_bytes", way.plan.PrefillBytes()},
         {"decode_bytes", way.plan.DecodeBytes()},
         {"spill_bytes", way.plan.spill_bytes},
         {"reread_per_token_bytes", way.reread_per_token},
         {"parts", parts}});
  }
  return json.dump();
}

}  // namespace dapple::tool
