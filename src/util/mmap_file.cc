#include "util/mmap_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "util/checked.h"

namespace dapple {
namespace {

void Advise(std::span<const std::byte> part, int advice, bool inside) {
  // Not 4096 everywhere: ARM kernels use 16 and 64 KiB too.
  static const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  uintptr_t begin = reinterpret_cast<uintptr_t>(part.data());
  uintptr_t end = begin + part.size();
  begin = inside ? AlignUp(begin, page) : begin & ~(page - 1);
  end = inside ? end & ~(page - 1) : AlignUp(end, page);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

}  // namespace

MmapFile::MmapFile(MmapFile&& other) noexcept { *this = std::move(other); }

MmapFile& MmapFile::operator=(MmapFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MmapFile::~MmapFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

Result<MmapFile> MmapFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const std::string why = path + ": " + std::strerror(errno);
    return errno == ENOENT ? NotFound(why) : IoError(why);
  }
  struct stat info;
  Status problem;
  if (fstat(fd, &info) != 0)
    problem = IoError(path + ": " + std::strerror(errno));
  else if (!S_ISREG(info.st_mode))
    problem = InvalidArgument(path + ": not a regular file");
  else if (info.st_size == 0)
    problem = Corrupt(path + ": the file is empty");
  if (!problem.ok()) {
    close(fd);
    return problem;
  }
  const size_t size = static_cast<size_t>(info.st_size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  const int map_error = errno;
  close(fd);
  if (data == MAP_FAILED)
    return IoError(path + ": cannot map: " + std::strerror(map_error));
  MmapFile file;
  file.path_ = path;
  file.data_ = static_cast<const std::byte*>(data);
  file.size_ = size;
  return file;
}

void ExpectUse(std::span<const std::byte> part, PageUse use) {
  Advise(part, use == PageUse::kAnnounced ? MADV_RANDOM : MADV_NORMAL,
         /*inside=*/false);
}

void ReadAheadPages(std::span<const std::byte> part) {
  // Linux cuts a longer request to the device's read-ahead, without a word.
  constexpr size_t kLongest = size_t{128} << 10;
  while (!part.empty()) {
    const size_t bytes = std::min(kLongest, part.size());
    Advise(part.first(bytes), MADV_WILLNEED, /*inside=*/false);
    part = part.subspan(bytes);
  }
}

void ReleasePages(std::span<const std::byte> part) {
  Advise(part, MADV_DONTNEED, /*inside=*/true);
}

void ReleaseTouchedPages(std::span<const std::byte> part) {
  Advise(part, MADV_DONTNEED, /*inside=*/false);
}

}  // namespace dapple
