// HugeWeights: a copy of a model's matrices in huge pages (util/huge_pages.h),
// for decoding, which reads all of them for every token.
//
// The mapped file's pages are given back as they are copied: the process does
// not hold both. The original must outlive the copy, which shares its vectors
// and, where the table of embeddings is not the head, its table.
#ifndef DAPPLE_MODEL_HUGE_WEIGHTS_H_
#define DAPPLE_MODEL_HUGE_WEIGHTS_H_

#include <cstdint>
#include <memory>

#include "model/model_weights.h"
#include "util/huge_pages.h"
#include "util/parallel.h"

namespace dapple {

class HugeWeights {
 public:
  // What a copy takes in pages of page_bytes.
  static uint64_t Bytes(const ModelWeights& weights, uint64_t page_bytes);

  // nullptr where the system has no huge pages or no memory.
  static std::shared_ptr<const HugeWeights> Copy(const ModelWeights& weights,
                                                 const Parallel& parallel);

  const ModelWeights& weights() const { return weights_; }
  uint64_t bytes() const { return pages_.bytes().size(); }

 private:
  HugeWeights(const ModelWeights& weights, HugePages pages)
      : weights_(weights), pages_(std::move(pages)) {}

  ModelWeights weights_;
  HugePages pages_;
};

}  // namespace dapple

#endif  // DAPPLE_MODEL_HUGE_WEIGHTS_H_
