#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

#include "command.h"
#include "dapple/cpu_report.h"
#include "info.h"

namespace dapple::tool {

static bool IsCommand(const CLI::App& app, const std::string& name) {
  for (const CLI::App* command : app.get_subcommands({}))
    if (command->get_name() == name) return true;
  return false;
}

// Without allocating: there may be nothing left to allocate.
static void Say(const char* text) {
  [[maybe_unused]] const ssize_t put = write(2, text, std::strlen(text));
}

static int OutOfMemory() {
  Say("dapple: out of memory\n");
  return kExitDoesNotFit;
}

// Exceptions that nobody can catch: those that leave a thread or a noexcept
// function. One line instead of an abort with a core file.
[[noreturn]] static void Terminate() {
  int code = kExitFailure;
  try {
    if (const auto current = std::current_exception())
      std::rethrow_exception(current);
    Say("dapple: ended by an internal error\n");
  } catch (const std::bad_alloc&) {
    code = OutOfMemory();
  } catch (const std::exception& error) {
    Say("dapple: ended by an internal error: ");
    Say(error.what());
    Say("\n");
  } catch (...) {
    Say("dapple: ended by an internal error\n");
  }
  _exit(code);
}

static void PrepareProcess() {
  std::set_terminate(Terminate);
  // A file that may grow no further is an error to report, not a signal.
  std::signal(SIGXFSZ, SIG_IGN);
  // Huge pages would make more resident than the plan counts: up to 2 MiB for
  // each thread's stack and each end of the heap.
#if defined(PR_SET_THP_DISABLE)
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
#endif
}

static int Main(int argc, char** argv) {
  CLI::App app("Long documents on small machines: a CPU inference runtime.",
               "dapple");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("dapple ") + DAPPLE_VERSION);
  Run run;
  AddSummarize(app, run);
  AddAsk(app, run);
  AddGenerate(app, run);
  AddModels(app, run);
  AddPlan(app, run);
  AddInspect(app, run);
  AddInfo(app, run);
  AddConvert(app, run);
  AddQuantize(app, run);
  AddTokenize(app, run);
  AddEval(app, run);
  AddBench(app, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    // CLI11 would only say that a subcommand is required.
    if (argc > 1 && argv[1][0] != '-' && !IsCommand(app, argv[1]))
      std::fprintf(stderr, "dapple: unknown command '%s' (see dapple --help)\n",
                   argv[1]);
    else
      app.exit(error);
    return kExitUsage;
  }
  if (const char* target = std::getenv("DAPPLE_TARGET");
      target != nullptr && *target != '\0') {
    if (const Status status = UseTarget(target); !status.ok()) {
      std::fprintf(stderr, "dapple: DAPPLE_TARGET: %s\n",
                   status.message().c_str());
      return kExitUsage;
    }
  }
  return run();
}

}  // namespace dapple::tool

int main(int argc, char** argv) {
  dapple::tool::PrepareProcess();
  try {
    return dapple::tool::Main(argc, argv);
  } catch (const std::bad_alloc&) {
    return dapple::tool::OutOfMemory();
  }
}
