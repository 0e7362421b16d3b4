// MmapFile: a whole file mapped read-only.
//
// Owns the mapping. The bytes are the file's own pages: they count as resident
// only once touched, and the kernel may drop them again at any time.
#ifndef DAPPLE_UTIL_MMAP_FILE_H_
#define DAPPLE_UTIL_MMAP_FILE_H_

#include <cstddef>
#include <span>
#include <string>

#include "dapple/status.h"

namespace dapple {

class MmapFile {
 public:
  MmapFile() = default;
  MmapFile(MmapFile&& other) noexcept;
  MmapFile& operator=(MmapFile&& other) noexcept;
  MmapFile(const MmapFile&) = delete;
  MmapFile& operator=(const MmapFile&) = delete;
  ~MmapFile();

  // kNotFound when missing; kCorrupt when empty; kIo otherwise. Messages begin
  // with the path. Directories, devices and pipes are refused.
  static Result<MmapFile> Open(const std::string& path);

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// How pages get into memory.
enum class PageUse {
  // The system reads around a fault: also what lies before and behind, as much
  // as the device's read-ahead, which can be megabytes.
  kNormal,
  // A fault brings one page: ReadAheadPages comes first. For what is read once,
  // or here and there, and must not bring its neighbours.
  kAnnounced,
};

// For any part of a mapped file; pages that it shares with its neighbours
// count as its own.
void ExpectUse(std::span<const std::byte> part, PageUse use);
// Starts reading its pages in the background.
void ReadAheadPages(std::span<const std::byte> part);
// Takes the pages wholly inside `part` out of this process's resident set.
// They stay in the system's page cache as long as it has room.
void ReleasePages(std::span<const std::byte> part);
// The same with the pages that it shares with its neighbours.
void ReleaseTouchedPages(std::span<const std::byte> part);

}  // namespace dapple

#endif  // DAPPLE_UTIL_MMAP_FILE_H_
