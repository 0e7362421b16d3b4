// Models split over several files (keys split.no, split.count and
// split.tensors.count, names NAME-00001-of-00003.gguf).
#include <cstdio>

#include "gguf/gguf_file.h"
#include "gguf/printable.h"

namespace dapple {
namespace {

// The writers' own counts are 16 bits.
constexpr uint64_t kMaxParts = 65535;

std::string Suffix(uint64_t number, uint64_t count) {
  char text[64];
  std::snprintf(text, sizeof(text), "-%05llu-of-%05llu.gguf",
                static_cast<unsigned long long>(number + 1),
                static_cast<unsigned long long>(count));
  return text;
}

std::string PartOf(uint64_t number, uint64_t count) {
  return "part " + std::to_string(number + 1) + " of " + std::to_string(count);
}

}  // namespace

uint64_t GgufFile::total_bytes() const {
  uint64_t bytes = file_.bytes().size();
  for (const GgufFile& part : parts_) bytes += part.file_.bytes().size();
  return bytes;
}

Status GgufFile::OpenParts() {
  DAPPLE_ASSIGN_OR_RETURN(const auto count, Uint("split.count"));
  if (!count.has_value() || *count <= 1) return Status::Ok();
  if (*count > kMaxParts)
    return Corrupt(path() + ": split.count is " + std::to_string(*count));
  DAPPLE_ASSIGN_OR_RETURN(const auto number, Uint("split.no"));
  DAPPLE_ASSIGN_OR_RETURN(const auto tensors, Uint("split.tensors.count"));
  if (!number.has_value() || *number >= *count)
    return Corrupt(path() + ": split.no is missing or beyond split.count");
  const std::string suffix = Suffix(*number, *count);
  const bool named = path().ends_with(suffix);
  const std::string prefix =
      path().substr(0, named ? path().size() - suffix.size() : 0);
  if (*number != 0)
    return InvalidArgument(
        path() + ": is " + PartOf(*number, *count) +
        " of a model: open the first" +
        (named ? ", " + prefix + Suffix(0, *count) : std::string()));
  if (!named)
    return InvalidArgument(path() + ": is " + PartOf(0, *count) +
                           " of a model; to find the others its name must end "
                           "in " +
                           suffix);
  parts_.reserve(*count - 1);
  for (uint64_t part = 1; part < *count; ++part)
    DAPPLE_RETURN_IF_ERROR(AddPart(part, *count, tensors.value_or(0),
                                   prefix + Suffix(part, *count)));
  if (tensors.has_value() && *tensors != tensors_.size())
    return Corrupt(path() + ": the parts have " +
                   std::to_string(tensors_.size()) + " tensors, not the " +
                   std::to_string(*tensors) + " of split.tensors.count");
  return Status::Ok();
}

Status GgufFile::AddPart(uint64_t number, uint64_t count, uint64_t tensors,
                         const std::string& path) {
  auto opened = OpenOne(path);
  if (!opened.ok()) {
    if (opened.status().code() == StatusCode::kNotFound)
      return NotFound(path + ": " + PartOf(number, count) + " is missing");
    return opened.status();
  }
  parts_.push_back(std::move(opened).value());
  const GgufFile& part = parts_.back();
  DAPPLE_ASSIGN_OR_RETURN(const auto its_number, part.Uint("split.no"));
  DAPPLE_ASSIGN_OR_RETURN(const auto its_count, part.Uint("split.count"));
  DAPPLE_ASSIGN_OR_RETURN(const auto its_tensors,
                          part.Uint("split.tensors.count"));
  if (its_number != number || its_count != count ||
      its_tensors.value_or(0) != tensors)
    return Corrupt(path + ": is not " + PartOf(number, count) + " of " +
                   this->path());
  for (const GgufTensor& tensor : part.tensors_) {
    if (!tensor_index_.emplace(tensor.name, tensors_.size()).second)
      return Corrupt(path + ": tensor " + Quoted(tensor.name) +
                     " is in an earlier part too: of another model?");
    tensors_.push_back(tensor);
  }
  return Status::Ok();
}

}  // namespace dapple
