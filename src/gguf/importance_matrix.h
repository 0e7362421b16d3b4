// ImportanceMatrix: for each matrix, how much an error in each of its inputs
// matters (the mean square of that input over some text).
//
// Read from a file that llama-imatrix made: the older format (32-bit count of
// entries, then for each: length and name, number of calls, number of values,
// the values as floats), or a GGUF file with tensors "<matrix>.in_sum2" and
// "<matrix>.counts". Owns its values, at most a few megabytes.
#ifndef DAPPLE_GGUF_IMPORTANCE_MATRIX_H_
#define DAPPLE_GGUF_IMPORTANCE_MATRIX_H_

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dapple/status.h"

namespace dapple {

class ImportanceMatrix {
 public:
  static Result<ImportanceMatrix> Read(const std::string& path);

  // Empty when the file does not know the matrix. Else finite values >= 0.
  std::span<const float> Find(std::string_view tensor) const;
  size_t size() const { return values_.size(); }

 private:
  Status ReadOld(const std::string& path, std::span<const std::byte> bytes);
  Status ReadGguf(const std::string& path);
  Status Add(const std::string& path, std::string name,
             std::vector<float> values);

  std::map<std::string, std::vector<float>, std::less<>> values_;
};

}  // namespace dapple

#endif  // DAPPLE_GGUF_IMPORTANCE_MATRIX_H_
