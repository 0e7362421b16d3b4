// GgufWriter: writes a GGUF file (v3) in one pass, tensor by tensor.
//
// Order of calls: Create, keys and tensors (the table needs every size before
// the first byte of data), BeginData, then the data of each tensor in the
// order they were added, in as many pieces as the caller likes, then Finish.
// Only the metadata is held in memory. The file appears under its name in
// Finish and not before; a writer destroyed earlier leaves nothing behind.
#ifndef DAPPLE_GGUF_GGUF_WRITER_H_
#define DAPPLE_GGUF_GGUF_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "dapple/status.h"
#include "gguf/gguf_file.h"
#include "util/atomic_file.h"
#include "util/tensor_type.h"

namespace dapple {

class GgufWriter {
 public:
  static constexpr uint64_t kAlignment = 32;

  static Result<GgufWriter> Create(const std::string& path);

  // Metadata. A key may be added once: later calls report it (BeginData).
  void AddUint32(std::string_view key, uint32_t value);
  void AddFloat32(std::string_view key, float value);
  void AddBool(std::string_view key, bool value);
  void AddString(std::string_view key, std::string_view value);
  void AddStrings(std::string_view key, std::span<const std::string> values);
  void AddFloats(std::string_view key, std::span<const float> values);
  void AddInts(std::string_view key, std::span<const int32_t> values);
  // A value as another file has it.
  void AddValue(std::string_view key, const GgufValue& value);

  // dims[0] is the contiguous one; 1 to 4 of them.
  void AddTensor(std::string_view name, TensorType type,
                 std::span<const uint64_t> dims);

  // Writes header, metadata and tensor table. kInternal when a key or tensor
  // was added twice or a tensor's dims make no sense.
  Status BeginData();
  // The next bytes of tensor data; padding between tensors is added here.
  Status Append(std::span<const std::byte> bytes);
  // kInternal unless every tensor got exactly its bytes.
  Status Finish();

  uint64_t file_size() const { return file_.size(); }

 private:
  struct Tensor {
    std::string name;
    TensorType type;
    std::vector<uint64_t> dims;
    uint64_t size;
  };

  template <class T>
  static void Put(std::string* out, T value);
  static void PutString(std::string* out, std::string_view text);
  void PutKey(std::string_view key, GgufType type);
  void PutArray(std::string_view key, GgufType type, uint64_t count);
  Status Pad();

  AtomicFile file_;
  std::string keys_;  // encoded
  uint64_t key_count_ = 0;
  std::vector<Tensor> tensors_;
  std::unordered_set<std::string> keys_seen_;
  std::unordered_set<std::string> tensors_seen_;
  std::string mistake_;   // the caller's first; "": none
  size_t tensor_ = 0;     // whose data comes next
  uint64_t written_ = 0;  // bytes of that tensor
  bool data_begun_ = false;
};

}  // namespace dapple

#endif  // DAPPLE_GGUF_GGUF_WRITER_H_
