// SpillFile: working memory that lives on disk instead of in RAM.
//
// The file never has a name that outlives its creation: it is gone when it is
// closed or the process ends, however that happens (a kill, a power cut), so
// no run leaves anything behind. Its space is taken when it is made: a full
// disk is found out before work begins. Owns the descriptor.
#ifndef DAPPLE_UTIL_SPILL_FILE_H_
#define DAPPLE_UTIL_SPILL_FILE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "dapple/status.h"

namespace dapple {

class SpillFile {
 public:
  SpillFile() = default;
  SpillFile(SpillFile&& other) noexcept;
  SpillFile& operator=(SpillFile&& other) noexcept;
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;
  ~SpillFile();

  // kIo when the folder cannot be written or lacks the room; kInvalidArgument
  // for a folder that is itself kept in memory (tmpfs). Names the folder.
  static Result<SpillFile> Create(const std::string& folder, uint64_t bytes);

  bool open() const { return fd_ >= 0; }

  // Whole transfers at [offset, offset + size) within the size asked for. A
  // written range is sent to the disk at once, so that unwritten pages do not
  // pile up in memory.
  Status Read(uint64_t offset, std::span<std::byte> bytes) const;
  Status Write(uint64_t offset, std::span<const std::byte> bytes) const;
  // Starts reading a range in the background.
  void ReadAhead(uint64_t offset, uint64_t size) const;

 private:
  std::string folder_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace dapple

#endif  // DAPPLE_UTIL_SPILL_FILE_H_
