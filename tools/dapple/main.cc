#include <CLI/CLI.hpp>
#include <cstdio>

#include "command.h"

namespace dapple::tool {
namespace {

bool IsCommand(const CLI::App& app, const std::string& name) {
  for (const CLI::App* command : app.get_subcommands({}))
    if (command->get_name() == name) return true;
  return false;
}

int Main(int argc, char** argv) {
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
  AddConvert(app, run);
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
  return run();
}

}  // namespace
}  // namespace dapple::tool

int main(int argc, char** argv) { return dapple::tool::Main(argc, argv); }
