#include "util/allocation_trap.h"

#if defined(DAPPLE_ALLOCATION_TRAP)
#if !defined(__GLIBC__) && defined(__has_include)
#if __has_include(<features.h>)
#include <features.h>
#endif
#endif
#if !defined(__GLIBC__)
#error "-Dallocation_trap=true needs glibc"
#endif

#include <execinfo.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace dapple {
namespace {

constexpr int kMostFrames = 32;

std::atomic<bool (*)()> allowed_now = nullptr;
std::atomic<int> scopes = 0;
thread_local int allowances = 0;

void Trap(size_t size) {
  if (scopes.load(std::memory_order_relaxed) == 0 || allowances != 0) return;
  const auto allowed = allowed_now.load(std::memory_order_relaxed);
  if (allowed != nullptr && allowed()) return;
  scopes.store(0);  // what follows may allocate
  const char text[] = "dapple: an allocation after planning, of ";
  char digits[24];
  size_t at = sizeof(digits);
  do {
    digits[--at] = static_cast<char>('0' + size % 10);
    size /= 10;
  } while (size != 0);
  void* frames[kMostFrames];
  [[maybe_unused]] ssize_t put = write(2, text, sizeof(text) - 1);
  put = write(2, digits + at, sizeof(digits) - at);
  put = write(2, " bytes, at\n", 11);
  backtrace_symbols_fd(frames, backtrace(frames, kMostFrames), 2);
  std::abort();
}

}  // namespace

NoAllocation::NoAllocation(bool (*allowed)()) {
  // The first backtrace loads a library.
  void* frame[1];
  backtrace(frame, 1);
  allowed_now.store(allowed);
  scopes.fetch_add(1);
}
NoAllocation::~NoAllocation() { scopes.fetch_sub(1); }

AllowAllocation::AllowAllocation() { ++allowances; }
AllowAllocation::~AllowAllocation() { --allowances; }

}  // namespace dapple

// glibc's own entry points. A definition of malloc in the program replaces the
// library's for every shared object of the process; operator new calls it.
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

__attribute__((visibility("default"))) void* malloc(size_t size) {
  dapple::Trap(size);
  return __libc_malloc(size);
}
__attribute__((visibility("default"))) void* calloc(size_t count, size_t size) {
  dapple::Trap(count * size);
  return __libc_calloc(count, size);
}
__attribute__((visibility("default"))) void* realloc(void* old, size_t size) {
  dapple::Trap(size);
  return __libc_realloc(old, size);
}
__attribute__((visibility("default"))) void* memalign(size_t alignment,
                                                      size_t size) {
  dapple::Trap(size);
  return __libc_memalign(alignment, size);
}
__attribute__((visibility("default"))) void* aligned_alloc(size_t alignment,
                                                           size_t size) {
  dapple::Trap(size);
  return __libc_memalign(alignment, size);
}
__attribute__((visibility("default"))) int posix_memalign(void** out,
                                                          size_t alignment,
                                                          size_t size) {
  dapple::Trap(size);
  void* const got = __libc_memalign(alignment, size);
  if (got == nullptr) return ENOMEM;
  *out = got;
  return 0;
}
}
#endif
