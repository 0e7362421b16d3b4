// The only file that knows oneDNN. Primitives are made with the C++ API and
// run through the C API, whose arguments are an array that we keep. Compiles
// with oneDNN 2.6 (Debian 12) and 3.x (Debian 13, Ubuntu 24.04).
#include "gemm/onednn_gemm.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cstdio>
#include <cstring>
#include <limits>
#include <new>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <utility>

#include "gemm/panel.h"
#include "kernels/convert.h"
#include "util/arena.h"
#include "util/checked.h"

namespace dapple {
namespace {

// 32 rows reach 95 % of the bf16 peak on Zen 4 and waste little on a short
// prompt. 64 columns make a panel oneDNN's own weight layout, which spares it
// a copy of the weights in each call (199 → 226 GFLOPS at 32 rows, k = 512).
constexpr size_t kRows = 32;
constexpr size_t kColumns = 64;
// That layout groups k by 32.
constexpr size_t kDepth = 32;
constexpr size_t kCacheLine = 64;

thread_local bool inside_onednn = false;

// oneDNN takes the number of threads from OpenMP when a primitive is made and
// bakes it in. Ours run on one thread each: Parallel cuts up the work.
class SerialScope {
 public:
  SerialScope() : threads_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~SerialScope() { omp_set_num_threads(threads_); }
  SerialScope(const SerialScope&) = delete;
  SerialScope& operator=(const SerialScope&) = delete;

 private:
  int threads_;
};

// Resident bytes of this process, or 0 where /proc does not say. smaps_rollup
// is exact; statm lags behind by up to 64 pages a thread.
size_t ResidentBytes() {
  std::FILE* file = std::fopen("/proc/self/smaps_rollup", "re");
  if (file == nullptr) return 0;
  char line[256];
  size_t kib = 0;
  while (std::fgets(line, sizeof(line), file) != nullptr)
    if (std::sscanf(line, "Rss: %zu kB", &kib) == 1) break;
  std::fclose(file);
  return kib * 1024;
}

size_t PaddedDepth(size_t k) { return AlignUp(k, kDepth); }

Status OutOfMemory() {
  return DoesNotFit("out of memory while preparing oneDNN");
}

dnnl::memory::dim Dim(size_t value) {
  return static_cast<dnnl::memory::dim>(value);
}

dnnl::matmul::primitive_desc MatmulDesc(const dnnl::engine& engine, size_t k) {
  using Memory = dnnl::memory;
  const Memory::desc rows({Dim(kRows), Dim(k)}, Memory::data_type::bf16,
                          Memory::format_tag::ab);
  const Memory::desc weights({Dim(k), Dim(kColumns)}, Memory::data_type::bf16,
                             Memory::format_tag::BA16a64b2a);
  const Memory::desc result({Dim(kRows), Dim(kColumns)}, Memory::data_type::f32,
                            Memory::format_tag::ab);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
  return dnnl::matmul::primitive_desc(engine, rows, weights, result,
                                      attributes);
#else
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(rows, weights, result),
                                      attributes, engine);
#endif
}

// One thread's arguments for one primitive. Buffers are set for each call.
struct Arguments {
  dnnl::memory rows, weights, result, workspace;
  std::array<dnnl_exec_arg_t, 4> list;
};

struct Product {
  size_t k = 0;  // padded
  dnnl::matmul primitive;
  std::vector<Arguments> threads;  // [Config::threads]
};

class OneDnnGemm final : public Gemm {
 public:
  // May throw dnnl::error.
  Status Init(const Config& config) {
    const size_t before = ResidentBytes();
    const SerialScope serial;
    threads_ = config.threads;
    max_rows_ = AlignUp(config.max_rows, kRows);
    engine_ = dnnl::engine(dnnl::engine::kind::cpu, 0);
    for (int t = 0; t < threads_; ++t) streams_.emplace_back(engine_);
    for (const GemmShape& shape : config.shapes) {
      const size_t k = PaddedDepth(shape.k);
      if (Find(k) == nullptr) DAPPLE_RETURN_IF_ERROR(AddProduct(k));
      max_k_ = std::max(max_k_, k);
    }
    DAPPLE_RETURN_IF_ERROR(WarmUp());
    const size_t after = ResidentBytes();
    own_bytes_ = std::max(after > before ? after - before : 0,
                          products_.size() * kProductBytes);
    return Status::Ok();
  }

  GemmBackend backend() const override { return GemmBackend::kOneDnn; }

  size_t PackedBytes(GemmShape shape) const override {
    return AlignUp(shape.n, kColumns) * PaddedDepth(shape.k) * sizeof(BF16);
  }

  size_t ScratchBytes() const override {
    return RowsBytes() + static_cast<size_t>(threads_) * ThreadBytes();
  }

  size_t OwnBytes() const override { return own_bytes_; }

  bool TakeFailure() const override { return failed_.exchange(false); }

  void Pack(const WeightMatrix& w, std::span<std::byte> packed,
            const Parallel& parallel) const override {
    assert(packed.size() >= PackedBytes({w.n, w.k}));
    const size_t k = PaddedDepth(w.k);
    parallel.For(CeilDiv(w.n, kColumns), [&](size_t panel, int) {
      PackPanelBF16(
          w, panel, kColumns, k,
          reinterpret_cast<BF16*>(packed.data()) + panel * kColumns * k);
    });
  }

  void Multiply(GemmShape shape, std::span<const std::byte> packed,
                const float* x, size_t x_stride, size_t rows, float* y,
                size_t y_stride, std::span<std::byte> scratch,
                const Parallel& parallel) const override {
    assert(parallel.threads() <= threads_ && rows <= max_rows_);
    assert(scratch.size() >= ScratchBytes());
    assert(packed.size() >= PackedBytes(shape));
    const Product* product = Find(PaddedDepth(shape.k));
    assert(product != nullptr && "shape was not given to Create");
    const size_t k = product->k;
    const size_t row_blocks = CeilDiv(rows, kRows);
    auto* half = reinterpret_cast<BF16*>(scratch.data());  // [rows padded, k]

    parallel.For(row_blocks, [&](size_t block, int) {
      for (size_t r = block * kRows; r < (block + 1) * kRows; ++r) {
        BF16* to = half + r * k;
        const size_t count = r < rows ? shape.k : 0;
        if (count > 0) kernels::ToBF16(x + r * x_stride, count, to);
        std::memset(to + count, 0, (k - count) * sizeof(BF16));
      }
    });

    // An item is one panel by some row blocks: the panel stays in L2. Few
    // panels are cut finer, so that every thread has work to the end.
    const size_t panels = CeilDiv(shape.n, kColumns);
    const size_t wanted =
        parallel.threads() == 1
            ? 1
            : CeilDiv(4 * static_cast<size_t>(parallel.threads()), panels);
    const size_t groups = std::min(wanted, row_blocks);
    parallel.For(panels * groups, [&](size_t item, int thread) {
      const size_t panel = item / groups;
      const size_t group = item % groups;
      const auto* weights =
          reinterpret_cast<const BF16*>(packed.data()) + panel * kColumns * k;
      const size_t columns = std::min(kColumns, shape.n - panel * kColumns);
      std::byte* own = scratch.data() + RowsBytes() +
                       static_cast<size_t>(thread) * ThreadBytes();
      for (size_t block = row_blocks * group / groups;
           block < row_blocks * (group + 1) / groups; ++block) {
        const float* tile = MultiplyTile(
            *product, thread, half + block * kRows * k, weights, own);
        for (size_t r = block * kRows; r < std::min(rows, (block + 1) * kRows);
             ++r)
          std::memcpy(y + r * y_stride + panel * kColumns,
                      tile + (r - block * kRows) * kColumns,
                      columns * sizeof(float));
      }
    });
  }

 private:
  // What a primitive was seen to hold at least, should /proc not tell.
  static constexpr size_t kProductBytes = size_t{64} << 10;
  static constexpr size_t kTileBytes = kRows * kColumns * sizeof(float);

  const Product* Find(size_t k) const {
    for (const Product& product : products_)
      if (product.k == k) return &product;
    return nullptr;
  }

  Status AddProduct(size_t k) {
    const dnnl::matmul::primitive_desc desc = MatmulDesc(engine_, k);
    // Anything but the JIT kernel would be slow, might start threads of its
    // own, and might sum in another order.
    const std::string name = desc.impl_info_str();
    if (name.rfind("brg", 0) != 0)
      return Unsupported("oneDNN offers only \"" + name +
                         "\" for bf16 products on this processor");
    workspace_bytes_ = std::max<size_t>(
        workspace_bytes_,
        AlignUp(desc.scratchpad_desc().get_size(), kCacheLine));
    Product product;
    product.k = k;
    product.primitive = dnnl::matmul(desc);
    for (int t = 0; t < threads_; ++t) {
      Arguments a;
      a.rows = dnnl::memory(desc.src_desc(), engine_, nullptr);
      a.weights = dnnl::memory(desc.weights_desc(), engine_, nullptr);
      a.result = dnnl::memory(desc.dst_desc(), engine_, nullptr);
      a.workspace = dnnl::memory(desc.scratchpad_desc(), engine_, nullptr);
      a.list = {dnnl_exec_arg_t{DNNL_ARG_SRC, a.rows.get()},
                dnnl_exec_arg_t{DNNL_ARG_WEIGHTS, a.weights.get()},
                dnnl_exec_arg_t{DNNL_ARG_DST, a.result.get()},
                dnnl_exec_arg_t{DNNL_ARG_SCRATCHPAD, a.workspace.get()}};
      product.threads.push_back(std::move(a));
    }
    products_.push_back(std::move(product));
    return Status::Ok();
  }

  // The first call of a primitive touches pages that OwnBytes must count. Its
  // buffers are mapped, not taken from the heap, which would keep them.
  Status WarmUp() const {
    const size_t rows = kRows * max_k_, weights = kColumns * max_k_;
    DAPPLE_ASSIGN_OR_RETURN(
        Arena arena, Arena::Reserve((rows + weights) * sizeof(BF16) +
                                    ThreadBytes() + 3 * Arena::kAlignment));
    const BF16* x = arena.Carve<BF16>(rows).data();
    const BF16* w = arena.Carve<BF16>(weights).data();
    std::byte* own = arena.Carve<std::byte>(ThreadBytes()).data();
    for (const Product& product : products_)
      MultiplyTile(product, 0, x, w, own);
    return TakeFailure() ? OutOfMemory() : Status::Ok();
  }

  dnnl_status_t Execute(const Product& product, int thread, const BF16* rows,
                        const BF16* weights, std::byte* own) const {
    const Arguments& a = product.threads[static_cast<size_t>(thread)];
    // The library's argument objects know no const; it only reads these two.
    dnnl_status_t status =
        dnnl_memory_set_data_handle(a.rows.get(), const_cast<BF16*>(rows));
    if (status == dnnl_success)
      status = dnnl_memory_set_data_handle(a.weights.get(),
                                           const_cast<BF16*>(weights));
    if (status == dnnl_success)
      status = dnnl_memory_set_data_handle(a.result.get(), own);
    if (status == dnnl_success)
      status = dnnl_memory_set_data_handle(a.workspace.get(), own + kTileBytes);
    if (status == dnnl_success)
      status = dnnl_primitive_execute(
          product.primitive.get(), streams_[static_cast<size_t>(thread)].get(),
          static_cast<int>(a.list.size()), a.list.data());
    return status;
  }

  // rows: [kRows, k]; weights: one panel; own: ThreadBytes. Returns the
  // product, [kRows, kColumns], in `own`.
  const float* MultiplyTile(const Product& product, int thread,
                            const BF16* rows, const BF16* weights,
                            std::byte* own) const {
    auto* tile = reinterpret_cast<float*>(own);
    inside_onednn = true;
    dnnl_status_t status;
    // A C interface, but its argument map is C++ that may run out of memory.
    try {
      status = Execute(product, thread, rows, weights, own);
    } catch (const std::bad_alloc&) {
      status = dnnl_out_of_memory;
    }
    inside_onednn = false;
    // Only out-of-memory is left to fail here. It must not pass for a result.
    if (status != dnnl_success) {
      failed_.store(true, std::memory_order_relaxed);
      std::fill(tile, tile + kRows * kColumns,
                std::numeric_limits<float>::quiet_NaN());
    }
    return tile;
  }

  size_t RowsBytes() const { return max_rows_ * max_k_ * sizeof(BF16); }
  size_t ThreadBytes() const { return kTileBytes + workspace_bytes_; }

  dnnl::engine engine_;
  std::vector<dnnl::stream> streams_;  // [threads]
  std::vector<Product> products_;      // one for each padded k
  int threads_ = 0;
  size_t max_rows_ = 0;  // multiple of kRows
  size_t max_k_ = 0;
  size_t workspace_bytes_ = 0;
  size_t own_bytes_ = 0;
  mutable std::atomic<bool> failed_ = false;
};

}  // namespace

bool OneDnnSuitsCpu() {
  // oneDNN built with a thread pool or TBB would need other calls.
  const unsigned runtime = dnnl_version()->cpu_runtime;
  if (runtime != DNNL_RUNTIME_OMP && runtime != DNNL_RUNTIME_SEQ) return false;
  // Also respects DNNL_MAX_CPU_ISA. The enumerators are bit sets.
  const unsigned isa = static_cast<unsigned>(dnnl_get_effective_cpu_isa());
  const unsigned wanted = static_cast<unsigned>(dnnl_cpu_isa_avx512_core_bf16);
  return (isa & wanted) == wanted;
}

Result<std::unique_ptr<Gemm>> CreateOneDnnGemm(const Gemm::Config& config) {
  if (!OneDnnSuitsCpu())
    return Unsupported("oneDNN needs a processor with AVX-512 BF16");
  try {
    auto gemm = std::make_unique<OneDnnGemm>();
    DAPPLE_RETURN_IF_ERROR(gemm->Init(config));
    return std::unique_ptr<Gemm>(std::move(gemm));
  } catch (const dnnl::error& error) {
    // Another backend would not fit either.
    if (error.status == dnnl_out_of_memory) return OutOfMemory();
    return Unsupported(std::string("oneDNN: ") + error.what());
  } catch (const std::bad_alloc&) {
    return OutOfMemory();
  }
}

bool InsideOneDnn() { return inside_onednn; }

}  // namespace dapple
