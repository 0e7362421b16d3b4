// Tokenizer: text to token ids and back, as the model file says.
//
// Built from a GGUF vocabulary (tokenizer.ggml.* keys). "llama" vocabularies
// are handed to the sentencepiece library as a hand-encoded ModelProto; "gpt2"
// ones are byte-level BPE of our own. Special (control and user-defined) tokens
// are split off first, longest match first.
// Owns the processor; thread-compatible: const methods may run concurrently.
#ifndef DAPPLE_TOKENIZER_H_
#define DAPPLE_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/status.h"

namespace dapple {

class GgufFile;

using TokenId = int32_t;

// Bytes [begin, end) of a text.
struct TextRange {
  size_t begin = 0;
  size_t end = 0;
  bool operator==(const TextRange&) const = default;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // kUnsupported, naming the file and the model, for a tokenizer Dapple does
  // not have; kCorrupt for contradictory vocabularies (counts, ids).
  static Result<std::unique_ptr<Tokenizer>> Create(const GgufFile& file);
  // Opens a GGUF file for its vocabulary alone.
  static Result<std::unique_ptr<Tokenizer>> Open(const std::string& path);

  struct EncodeOptions {
    bool add_bos = true;         // only where the model file wants a bos
    bool parse_special = false;  // "<|im_end|>" in text: control or plain
    // Whether this text starts a sequence: sentencepiece's space prefix is
    // added only there. A chat turn's text that follows a control token is
    // encoded as the model's own trainer did (see the .cc).
    bool add_space_prefix = true;
    // Sentencepiece's space prefix behind special tokens as well.
    bool space_after_special = false;
    bool add_eos = false;  // only where the model file wants an eos
    // With parse_special: sorted, disjoint parts of the text in which names of
    // special tokens are plain text, even where they reach beyond the part.
    std::span<const TextRange> plain = {};
  };
  // Byte-level vocabularies take any bytes and give them back (if they have a
  // token for each); for others
  // `text` must be UTF-8: kInvalidArgument with the byte offset if not.
  virtual Result<std::vector<TokenId>> Encode(
      std::string_view text, const EncodeOptions& options) const = 0;

  // Bytes that this token adds to a text. May be part of a UTF-8 character.
  // Control tokens give "" unless render_special.
  virtual std::string Piece(TokenId id, bool render_special = false) const = 0;
  // Whole-sequence decode: pieces joined, the leading space prefix removed.
  virtual std::string Decode(const std::vector<TokenId>& ids,
                             bool render_special = false) const = 0;

  virtual size_t vocab_size() const = 0;
  virtual TokenId bos() const = 0;  // -1: none
  virtual TokenId eos() const = 0;  // -1: none
  virtual bool adds_bos() const = 0;
  virtual bool adds_eos() const { return false; }
  // Whether a text that starts a sequence gets a space in front.
  virtual bool adds_space_prefix() const { return false; }
  // eos, eot and the like: ids that end a generation.
  virtual const std::vector<TokenId>& end_ids() const = 0;
  // Control tokens, and others that no plain text may yield.
  virtual bool IsControl(TokenId id) const = 0;
  // The id whose whole text is exactly `text`, or -1.
  virtual TokenId FindPiece(std::string_view text) const = 0;
  // Heap bytes held, for the memory plan (estimate, documented in the .cc).
  virtual size_t MemoryBytes() const = 0;

  // tokenizer.chat_template, a Jinja text of the model file's; "": none.
  const std::string& chat_template() const { return chat_template_; }

 private:
  std::string chat_template_;
};

// Streaming decode: holds back the bytes of an unfinished UTF-8 character, so
// that a terminal never sees half of one. Drops the one leading space that the
// sentencepiece prefix makes at the start of a sequence if told so.
class StreamDetokenizer {
 public:
  StreamDetokenizer(const Tokenizer& tokenizer, bool strip_leading_space);
  // The text that became complete with this token. Bytes that can never become
  // valid UTF-8 are replaced by U+FFFD.
  std::string Push(TokenId id);
  // What is left at the end (U+FFFD for an unfinished character).
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  bool strip_leading_space_;
  std::string pending_;
};

// True when valid; else *bad_offset is the first bad byte (may be null).
bool IsValidUtf8(std::string_view text, size_t* bad_offset);

}  // namespace dapple

#endif  // DAPPLE_TOKENIZER_H_
