// NoAllocation: where Dapple promises not to allocate, and a build that checks.
//
// With -Dallocation_trap=true, malloc and its kin are replaced in the whole
// program, and an allocation by any thread while a NoAllocation lives ends the
// process, with the place on standard error. Otherwise these classes are
// empty. For programs that run one session at a time: the trap cannot tell
// another session's threads apart.
#ifndef DAPPLE_UTIL_ALLOCATION_TRAP_H_
#define DAPPLE_UTIL_ALLOCATION_TRAP_H_

namespace dapple {

#if defined(DAPPLE_ALLOCATION_TRAP)
class NoAllocation {
 public:
  // allowed() is asked at each allocation whether this one, on this thread,
  // is a library's own; it must not allocate itself.
  explicit NoAllocation(bool (*allowed)());
  ~NoAllocation();
  NoAllocation(const NoAllocation&) = delete;
  NoAllocation& operator=(const NoAllocation&) = delete;
};

// Within: this thread may allocate after all: it runs its caller's code (a
// callback), or says why it failed.
class AllowAllocation {
 public:
  AllowAllocation();
  ~AllowAllocation();
  AllowAllocation(const AllowAllocation&) = delete;
  AllowAllocation& operator=(const AllowAllocation&) = delete;
};
#else
class NoAllocation {
 public:
  explicit NoAllocation(bool (*)()) {}
  ~NoAllocation() {}
};

class AllowAllocation {
 public:
  AllowAllocation() {}
  ~AllowAllocation() {}
};
#endif

}  // namespace dapple

#endif  // DAPPLE_UTIL_ALLOCATION_TRAP_H_
