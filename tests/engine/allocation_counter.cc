#include "allocation_counter.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>

#include "gemm/gemm.h"

namespace {

std::atomic<bool> counting = false;
std::atomic<size_t> allocations = 0;

[[maybe_unused]] void Count() {
  if (counting.load(std::memory_order_relaxed) &&
      !dapple::Gemm::InsideLibrary())
    allocations.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__) && !defined(DAPPLE_ALLOCATION_TRAP)
#define DAPPLE_COUNTS_ALLOCATIONS 1

// glibc's own entry points. A definition of malloc in the program replaces
// the library's for every shared object of the process; operator new calls it.
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

void* malloc(size_t size) {
  Count();
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  Count();
  return __libc_calloc(count, size);
}
void* realloc(void* old, size_t size) {
  Count();
  return __libc_realloc(old, size);
}
void* memalign(size_t alignment, size_t size) {
  Count();
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  Count();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** out, size_t alignment, size_t size) {
  Count();
  *out = __libc_memalign(alignment, size);
  return *out == nullptr ? ENOMEM : 0;
}
}
#endif

namespace dapple::test {

AllocationCounter::AllocationCounter() {
  allocations = 0;
  counting = true;
}

AllocationCounter::~AllocationCounter() { counting = false; }

size_t AllocationCounter::Stop() {
  counting = false;
  return allocations;
}

bool AllocationCounter::Works() {
#if defined(DAPPLE_COUNTS_ALLOCATIONS)
  return true;
#else
  return false;
#endif
}

}  // namespace dapple::test
