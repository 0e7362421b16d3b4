// GgufParser: fills a GgufFile from its mapped bytes, believing nothing.
//
// Invariant: every span and string_view that it stores lies inside the
// mapping, and every allocation is bounded by the file's size. Borrows the
// GgufFile for the duration of Parse().
#ifndef DAPPLE_GGUF_GGUF_PARSER_H_
#define DAPPLE_GGUF_GGUF_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/status.h"
#include "gguf/gguf_file.h"

namespace dapple {

// "uint32", "string"; "unknown" for other ids.
std::string_view GgufTypeName(GgufType type);
// Bytes of one value; 0 for strings, arrays and unknown ids.
size_t GgufTypeSize(GgufType type);
bool IsGgufInteger(GgufType type);

class GgufParser {
 public:
  explicit GgufParser(GgufFile* file)
      : file_(*file), bytes_(file->file().bytes()) {}

  Status Parse();

 private:
  // The bytes of a tensor, before its offset could be turned into a span.
  struct Extent {
    uint64_t offset;  // from the start of the tensor data
    uint64_t size;
  };

  uint64_t remaining() const { return bytes_.size() - at_; }
  template <class T>
  bool Read(T* value);
  bool ReadString(std::string_view* text);
  Status Bad(const std::string& reason) const;
  Status CutShort(const std::string& where) const;

  Status ParseHeader(uint64_t* tensor_count, uint64_t* key_count);
  Status ParseKey(uint64_t index);
  Status ParseValue(std::string_view key, GgufValue* value);
  Status ParseArray(std::string_view key, GgufValue* value);
  Status ParseAlignment();
  Status ParseTensor(uint64_t index, Extent* extent);
  Status PlaceTensors(const std::vector<Extent>& extents);

  GgufFile& file_;
  std::span<const std::byte> bytes_;  // the whole file
  uint64_t at_ = 0;                   // <= bytes_.size()
};

}  // namespace dapple

#endif  // DAPPLE_GGUF_GGUF_PARSER_H_
