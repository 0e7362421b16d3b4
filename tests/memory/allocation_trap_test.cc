// The mechanism behind -Dallocation_trap=true, compiled into this test.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "util/allocation_trap.h"

namespace dapple {
namespace {

// volatile: compilers know that malloc itself reads no variable of a program.
thread_local volatile bool in_library = false;
bool InLibrary() { return in_library; }

struct Outcome {
  int signal = 0;
  std::string text;
};

// What becomes of a process that does `work`.
Outcome RunInChild(const std::function<void()>& work) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // doctest would report the abort as its own.
    std::signal(SIGABRT, SIG_DFL);
    dup2(ends[1], 2);
    work();
    _exit(0);
  }
  close(ends[1]);
  Outcome outcome;
  char buffer[256];
  ssize_t got;
  while ((got = read(ends[0], buffer, sizeof(buffer))) > 0)
    outcome.text.append(buffer, static_cast<size_t>(got));
  close(ends[0]);
  int state = 0;
  waitpid(child, &state, 0);
  if (WIFSIGNALED(state)) outcome.signal = WTERMSIG(state);
  return outcome;
}

void* volatile kept;

TEST_CASE("an allocation where none is promised ends the process, with place") {
  const std::function<void()> ways[] = {
      [] { kept = std::malloc(4321); },
      [] { kept = std::calloc(1, 4321); },
      [] { kept = std::realloc(nullptr, 4321); },
      [] { kept = std::aligned_alloc(64, 4352); },
      [] { kept = new char[4321]; },
      [] {
        void* p = nullptr;
        if (posix_memalign(&p, 64, 4352) == 0) kept = p;
      }};
  for (const auto& way : ways) {
    const Outcome outcome = RunInChild([&] {
      const NoAllocation promise(&InLibrary);
      way();
    });
    CHECK(outcome.signal == SIGABRT);
    CHECK(outcome.text.find("an allocation after planning, of 43") !=
          std::string::npos);
    // The place: frames of this program, with addresses.
    CHECK(outcome.text.find("allocation_trap_test") != std::string::npos);
  }
}

TEST_CASE("the trap sees other threads' allocations") {
  const Outcome outcome = RunInChild([] {
    std::atomic<bool> go = false;
    std::thread other([&] {
      while (!go) {
      }
      kept = std::malloc(77);
    });
    const NoAllocation promise(&InLibrary);
    go = true;
    other.join();
  });
  CHECK(outcome.signal == SIGABRT);
}

TEST_CASE(
    "libraries, callbacks and freeing are not trapped, nor what follows") {
  const Outcome outcome = RunInChild([] {
    kept = std::malloc(10);
    {
      const NoAllocation promise(&InLibrary);
      std::free(kept);
      in_library = true;
      kept = std::malloc(20);
      in_library = false;
      const AllowAllocation callback;
      kept = std::malloc(30);
    }
    kept = std::malloc(40);
  });
  CAPTURE(outcome.text);
  CHECK(outcome.signal == 0);
  CHECK(outcome.text.empty());
}

}  // namespace
}  // namespace dapple
