// A conversion done in a folder of its own, and its result.
#ifndef DAPPLE_TESTS_GGUF_CONVERTED_H_
#define DAPPLE_TESTS_GGUF_CONVERTED_H_

#include <string>
#include <vector>

#include "dapple/convert.h"
#include "gguf/gguf_file.h"
#include "test_files.h"

namespace dapple::testing {

struct Converted {
  TempDir folder;
  std::vector<std::string> notes;
  Result<ConvertResult> result = Internal("not run");
  Result<GgufFile> file = Internal("not run");

  Converted(const std::string& input, const std::string& type) {
    ConvertOptions options;
    options.input_dir = input;
    options.output_path = folder / "out.gguf";
    options.type = type;
    options.note = [this](const std::string& note) { notes.push_back(note); };
    result = Convert(options);
    if (result.ok()) file = GgufFile::Open(options.output_path);
  }
};

}  // namespace dapple::testing

#endif  // DAPPLE_TESTS_GGUF_CONVERTED_H_
