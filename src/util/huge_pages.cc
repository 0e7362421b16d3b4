#include "util/huge_pages.h"

#include <sys/mman.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include <fstream>
#include <limits>
#include <utility>

#include "util/checked.h"

namespace dapple {
namespace {

constexpr uint64_t kLargestPage = uint64_t{4} << 20;

uint64_t ThisHugePageBytes() {
  static const uint64_t bytes = HugePageBytes();
  return bytes;
}

}  // namespace

uint64_t HugePageBytes(const std::string& root) {
#if defined(MADV_HUGEPAGE)
  const std::string folder = root + "/sys/kernel/mm/transparent_hugepage/";
  std::ifstream enabled(folder + "enabled"), size(folder + "hpage_pmd_size");
  std::string modes;
  uint64_t bytes = 0;
  // "always [madvise] never": the one in brackets holds.
  if (!std::getline(enabled, modes) || !(size >> bytes)) return 0;
  const bool offered = modes.find("[always]") != std::string::npos ||
                       modes.find("[madvise]") != std::string::npos;
  const bool is_power = bytes != 0 && (bytes & (bytes - 1)) == 0;
  return offered && is_power && bytes <= kLargestPage ? bytes : 0;
#else
  static_cast<void>(root);
  return 0;
#endif
}

void UseHugePages(std::span<std::byte> part) {
#if defined(MADV_HUGEPAGE)
  const uint64_t page = ThisHugePageBytes();
  if (page == 0) return;
  const auto address = reinterpret_cast<uintptr_t>(part.data());
  const uint64_t begin = AlignUp(address, page);
  const uint64_t end = (address + part.size()) & ~(page - 1);
  if (begin < end)
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  static_cast<void>(part);
#endif
}

AllowHugePages::AllowHugePages() {
#if defined(PR_SET_THP_DISABLE)
  renounced_ = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1;
  if (renounced_) prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
#endif
}

AllowHugePages::~AllowHugePages() {
#if defined(PR_SET_THP_DISABLE)
  if (renounced_) prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
#endif
}

HugePages::HugePages(HugePages&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

HugePages& HugePages::operator=(HugePages&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

HugePages::~HugePages() {
  if (data_ != nullptr) munmap(data_, size_);
}

HugePages HugePages::Reserve(uint64_t bytes) {
  const uint64_t page = ThisHugePageBytes();
  HugePages pages;
  if (page == 0 || bytes == 0 ||
      bytes > std::numeric_limits<size_t>::max() / 2 - 2 * page)
    return pages;
  const uint64_t size = AlignUp(bytes, page);
  // One page more, so that a whole number of them lies inside.
  void* mapped = mmap(nullptr, size + page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return pages;
  const auto address = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t begin = AlignUp(address, page);
  if (begin != address) munmap(mapped, begin - address);
  if (begin + size != address + size + page)
    munmap(reinterpret_cast<void*>(begin + size), address + page - begin);
  pages.data_ = reinterpret_cast<std::byte*>(begin);
  pages.size_ = size;
  UseHugePages(pages.bytes());
  return pages;
}

}  // namespace dapple
