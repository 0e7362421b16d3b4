#include "util/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace dapple {
namespace {

Status SystemError(const std::string& path, int error) {
  const std::string why = path + ": cannot write: " + std::strerror(error);
  return error == ENOENT ? NotFound(why) : IoError(why);
}

std::string Folder(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

AtomicFile::AtomicFile(AtomicFile&& other) noexcept {
  *this = std::move(other);
}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(target_, other.target_);
  std::swap(temporary_, other.temporary_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

AtomicFile::~AtomicFile() { Discard(); }

void AtomicFile::Discard() {
  if (fd_ < 0) return;
  close(fd_);
  fd_ = -1;
  unlink(temporary_.c_str());
}

Result<AtomicFile> AtomicFile::Create(const std::string& path) {
  if (path.empty() || path.back() == '/')
    return InvalidArgument(path + ": not a file name");
  AtomicFile file;
  file.path_ = path;
  file.target_ = path;
  struct stat info;
  if (stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode))
      return InvalidArgument(path + ": is a directory");
    // Renaming over a device or pipe would replace it.
    if (!S_ISREG(info.st_mode))
      return InvalidArgument(path + ": not a regular file");
    if (char* resolved = realpath(path.c_str(), nullptr)) {
      file.target_ = resolved;
      std::free(resolved);
    }
  }
  // O_EXCL and not mkstemp: the file gets the permissions of the user's umask.
  for (int attempt = 0; attempt < 100; ++attempt) {
    file.temporary_ = file.target_ + ".part" + std::to_string(getpid()) + "-" +
                      std::to_string(attempt);
    file.fd_ = open(file.temporary_.c_str(),
                    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file.fd_ >= 0) return file;
    if (errno != EEXIST) return SystemError(path, errno);
  }
  return IoError(path + ": no free temporary name beside it");
}

Status AtomicFile::Write(std::span<const std::byte> bytes) {
  if (fd_ < 0) return Internal(path_ + ": write to a closed file");
  while (!bytes.empty()) {
    // Linux writes at most 2 GiB a call.
    const ssize_t done =
        write(fd_, bytes.data(), std::min(bytes.size(), size_t{1} << 30));
    if (done < 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      Discard();
      return SystemError(path_, error);
    }
    size_ += static_cast<uint64_t>(done);
    bytes = bytes.subspan(static_cast<size_t>(done));
  }
  return Status::Ok();
}

Status AtomicFile::Commit() {
  if (fd_ < 0) return Internal(path_ + ": commit of a closed file");
  if (fsync(fd_) != 0 && errno != EINVAL) {
    const int error = errno;
    Discard();
    return SystemError(path_, error);
  }
  // close reports delayed write errors of network file systems.
  const int closed = close(std::exchange(fd_, -1));
  if (closed != 0 || std::rename(temporary_.c_str(), target_.c_str()) != 0) {
    const int error = errno;
    unlink(temporary_.c_str());
    return SystemError(path_, error);
  }
  const int folder = open(Folder(target_).c_str(), O_RDONLY | O_CLOEXEC);
  if (folder >= 0) {
    // Best effort: the data is safe; some file systems refuse this call.
    (void)fsync(folder);
    close(folder);
  }
  return Status::Ok();
}

}  // namespace dapple
