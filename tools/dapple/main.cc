#include <CLI/CLI.hpp>

#include "command.h"

namespace dapple::tool {
namespace {

int Main(int argc, char** argv) {
  CLI::App app("Long documents on small machines: a CPU inference runtime.",
               "dapple");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("dapple ") + DAPPLE_VERSION);
  Run run;
  AddSummarize(app, run);
  AddAsk(app, run);
  AddGenerate(app, run);
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
    app.exit(error);
    return kExitUsage;
  }
  return run();
}

}  // namespace
}  // namespace dapple::tool

int main(int argc, char** argv) { return dapple::tool::Main(argc, argv); }
