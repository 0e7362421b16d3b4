// A preload library that makes memory run out at a chosen place.
//
//   FAIL_ALLOC_AT=N      the N-th allocation since main began fails (1: first)
//   FAIL_ALLOC_ONWARD=1  and every later one, too
//   FAIL_ALLOC_COUNT=F   at the end, F gets the number of allocations
//
// Allocations are calls of malloc and its kin, and of mmap for memory or for
// files. What the C library asks of the system within them is not counted.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

namespace {

std::atomic<bool> running = false;
std::atomic<long> allocations = 0;
long fail_at = 0;
bool onward = false;

bool Fails() {
  if (!running.load(std::memory_order_relaxed)) return false;
  const long number = allocations.fetch_add(1) + 1;
  if (fail_at == 0 || number < fail_at || (number > fail_at && !onward))
    return false;
  errno = ENOMEM;
  return true;
}

void WriteCount() {
  running = false;
  const char* path = std::getenv("FAIL_ALLOC_COUNT");
  if (path == nullptr) return;
  char digits[24];
  size_t at = sizeof(digits);
  for (long left = allocations; left != 0 || at == sizeof(digits); left /= 10)
    digits[--at] = static_cast<char>('0' + left % 10);
  const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  [[maybe_unused]] const ssize_t put =
      write(file, digits + at, sizeof(digits) - at);
  close(file);
}

using Main = int (*)(int, char**, char**);
Main program;

int RunProgram(int argc, char** argv, char** environment) {
  if (const char* text = std::getenv("FAIL_ALLOC_AT")) fail_at = atol(text);
  onward = std::getenv("FAIL_ALLOC_ONWARD") != nullptr;
  std::atexit(WriteCount);
  running = true;
  return program(argc, argv, environment);
}

}  // namespace

#define EXPORTED __attribute__((visibility("default")))

extern "C" {

EXPORTED void* malloc(size_t size) {
  return Fails() ? nullptr : __libc_malloc(size);
}
EXPORTED void* calloc(size_t count, size_t size) {
  return Fails() ? nullptr : __libc_calloc(count, size);
}
EXPORTED void* realloc(void* old, size_t size) {
  return Fails() ? nullptr : __libc_realloc(old, size);
}
EXPORTED void* memalign(size_t alignment, size_t size) {
  return Fails() ? nullptr : __libc_memalign(alignment, size);
}
EXPORTED void* aligned_alloc(size_t alignment, size_t size) {
  return Fails() ? nullptr : __libc_memalign(alignment, size);
}
EXPORTED int posix_memalign(void** out, size_t alignment, size_t size) {
  void* const got = Fails() ? nullptr : __libc_memalign(alignment, size);
  if (got == nullptr) return ENOMEM;
  *out = got;
  return 0;
}
EXPORTED void* mmap(void* address, size_t size, int protection, int flags,
                    int file, off_t offset) {
  using Mmap = void* (*)(void*, size_t, int, int, int, off_t);
  static const auto real = reinterpret_cast<Mmap>(dlsym(RTLD_NEXT, "mmap"));
  return Fails() ? MAP_FAILED
                 : real(address, size, protection, flags, file, offset);
}

// Counting begins with main: what the loader and libraries do before it is
// nothing that Dapple could answer for.
EXPORTED int __libc_start_main(Main main_function, int argc, char** argv,
                               void (*init)(), void (*fini)(),
                               void (*rtld_fini)(), void* stack_end) {
  using Start =
      int (*)(Main, int, char**, void (*)(), void (*)(), void (*)(), void*);
  program = main_function;
  const auto real =
      reinterpret_cast<Start>(dlsym(RTLD_NEXT, "__libc_start_main"));
  return real(RunProgram, argc, argv, init, fini, rtld_fini, stack_end);
}
}
