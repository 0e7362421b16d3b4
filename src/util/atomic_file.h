// AtomicFile: a file that appears under its name only when it is complete.
//
// Bytes go to a temporary file beside the target; Commit() syncs and renames
// it. Until then the target (if any) is untouched, and a writer that fails or
// is destroyed leaves nothing behind. Owns the descriptor and the temporary
// name.
#ifndef DAPPLE_UTIL_ATOMIC_FILE_H_
#define DAPPLE_UTIL_ATOMIC_FILE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "dapple/status.h"

namespace dapple {

class AtomicFile {
 public:
  // `path` may exist as a regular file (it will be replaced; a symbolic link
  // is followed). kInvalidArgument for directories and devices, kNotFound when
  // the folder is missing, kIo otherwise. Messages begin with the path.
  static Result<AtomicFile> Create(const std::string& path);

  AtomicFile() = default;
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  // Removes the temporary file unless committed.
  ~AtomicFile();

  Status Write(std::span<const std::byte> bytes);
  // fsync, rename, fsync of the folder. No Write may follow.
  Status Commit();

  uint64_t size() const { return size_; }  // bytes written so far
  const std::string& path() const { return path_; }

 private:
  void Discard();

  std::string path_;    // as the user named it: for messages
  std::string target_;  // symbolic links resolved
  std::string temporary_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace dapple

#endif  // DAPPLE_UTIL_ATOMIC_FILE_H_
