#include "util/spill_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "util/allocation_trap.h"

namespace dapple {
namespace {

Status Problem(const std::string& folder, const char* what, int error) {
  const AllowAllocation failing;
  return IoError(folder + ": " + what + ": " + std::strerror(error));
}

// A file without a name; where the file system has none such (overlayfs,
// NFS), one whose name is taken away at once.
int OpenNameless(const std::string& folder) {
#ifdef O_TMPFILE
  const int fd =
      open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
    return fd;
#endif
  std::string path = folder + "/.dapple-spill-XXXXXX";
  const int named = mkostemp(path.data(), O_CLOEXEC);
  if (named >= 0) unlink(path.c_str());
  return named;
}

}  // namespace

SpillFile::SpillFile(SpillFile&& other) noexcept { *this = std::move(other); }

SpillFile& SpillFile::operator=(SpillFile&& other) noexcept {
  std::swap(folder_, other.folder_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

SpillFile::~SpillFile() {
  if (fd_ >= 0) close(fd_);
}

Result<SpillFile> SpillFile::Create(const std::string& folder, uint64_t bytes) {
  struct statfs system;
  if (statfs(folder.c_str(), &system) != 0)
    return Problem(folder, "cannot spill there", errno);
  if (system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC)
    return InvalidArgument(folder +
                           ": cannot spill there: it is itself kept in "
                           "memory (tmpfs); name a folder on a disk");
  SpillFile file;
  file.folder_ = folder;
  file.fd_ = OpenNameless(folder);
  if (file.fd_ < 0) return Problem(folder, "cannot spill there", errno);
  const int error = posix_fallocate(file.fd_, 0, static_cast<off_t>(bytes));
  if (error != 0)
    return Problem(folder,
                   ("cannot reserve " + std::to_string(bytes >> 20) +
                    " MiB for the residual stream")
                       .c_str(),
                   error);
  file.size_ = bytes;
  return file;
}

Status SpillFile::Read(uint64_t offset, std::span<std::byte> bytes) const {
  if (offset > size_ || bytes.size() > size_ - offset)
    return Internal("a read behind the end of the spilled state");
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = pread(fd_, bytes.data() + done, bytes.size() - done,
                              static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      return Problem(folder_, "cannot read the spilled state back",
                     got < 0 ? errno : EIO);
    done += static_cast<size_t>(got);
  }
  // Read once a layer: the cache would only push other pages out.
  posix_fadvise(fd_, static_cast<off_t>(offset),
                static_cast<off_t>(bytes.size()), POSIX_FADV_DONTNEED);
  return Status::Ok();
}

Status SpillFile::Write(uint64_t offset,
                        std::span<const std::byte> bytes) const {
  if (offset > size_ || bytes.size() > size_ - offset)
    return Internal("a write behind the end of the spilled state");
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = pwrite(fd_, bytes.data() + done, bytes.size() - done,
                               static_cast<off_t>(offset + done));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0)
      return Problem(folder_, "cannot spill", put < 0 ? errno : ENOSPC);
    done += static_cast<size_t>(put);
  }
  sync_file_range(fd_, static_cast<off_t>(offset),
                  static_cast<off_t>(bytes.size()), SYNC_FILE_RANGE_WRITE);
  return Status::Ok();
}

void SpillFile::ReadAhead(uint64_t offset, uint64_t size) const {
  if (offset < size_)
    posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(size),
                  POSIX_FADV_WILLNEED);
}

}  // namespace dapple
