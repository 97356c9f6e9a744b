#include "gemm.h"

#include <algorithm>
#include <utility>

#include "kernels.h"

namespace jsmpc {
namespace {

constexpr int64_t kMaxBlockRows = 1024;
constexpr int64_t kMaxBlockCols = 512;
constexpr int64_t kMinBlockRows = 64;
constexpr int64_t kBlockColsMultiple = 32;  // of every register tile's width
constexpr int64_t kMinTaskProducts = 1 << 16;
constexpr int64_t kTasksPerThread = 2;

int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }

// The part-th of `parts` ranges of 0..n, cut at multiples of `multiple`.
Range cut_range(int64_t n, int64_t parts, int64_t part, int64_t multiple) {
  const int64_t units = ceil_div(n, multiple);
  return {std::min(n, units * part / parts * multiple),
          std::min(n, units * (part + 1) / parts * multiple)};
}

}  // namespace

template <class T>
int64_t Gemm<T>::batch() const {
  int64_t n = 1;
  for (int d = 0; d < batch_dims; ++d) n *= batch_shape[d];
  return n;
}

template <class T>
GemmPlan<T>::GemmPlan(const Gemm<T>& problem, int64_t threads)
    : problem_(problem) {
  if (shares_b()) fold_batch_into_rows();
  if (problem_.cols == 1) turn_column_into_row();
  cut(threads);
}

// Whether the batch is one tall A times one B.
template <class T>
bool GemmPlan<T>::shares_b() const {
  for (int t = 0; t < problem_.terms; ++t) {
    const auto& a = problem_.a[t];
    int64_t stride = problem_.rows * a.row_stride;
    for (int d = problem_.batch_dims - 1; d >= 0; --d) {
      if (problem_.b[t].batch_stride[d] || a.batch_stride[d] != stride)
        return false;
      stride *= problem_.batch_shape[d];
    }
  }
  return true;
}

template <class T>
void GemmPlan<T>::fold_batch_into_rows() {
  problem_.rows *= problem_.batch();
  problem_.batch_dims = 0;
}

template <class T>
void GemmPlan<T>::turn_column_into_row() {
  std::swap(problem_.rows, problem_.cols);
  for (int t = 0; t < problem_.terms; ++t) {
    auto& a = problem_.a[t];
    auto& b = problem_.b[t];
    std::swap(a, b);
    std::swap(a.row_stride, a.col_stride);
    std::swap(b.row_stride, b.col_stride);
  }
}

template <class T>
void GemmPlan<T>::cut(int64_t threads) {
  const Gemm<T>& p = problem_;
  const int64_t per_matrix = p.rows * p.cols * std::max<int64_t>(p.depth, 1) *
                             std::max(p.terms, 1);
  const int64_t work = p.batch() * per_matrix;
  if (work == 0) return;
  grain_ = ceil_div(kMinTaskProducts, per_matrix);
  row_blocks_ = ceil_div(p.rows, kMaxBlockRows);
  col_blocks_ = ceil_div(p.cols, kMaxBlockCols);
  if (threads <= 1) return;
  const int64_t wanted = std::clamp<int64_t>(work / kMinTaskProducts, 1,
                                             threads * kTasksPerThread);
  const auto missing = [&] { return ceil_div(wanted, tasks()); };
  row_blocks_ = std::max(
      row_blocks_, std::min(row_blocks_ * missing(), p.rows / kMinBlockRows));
  col_blocks_ = std::min(col_blocks_ * missing(),
                         ceil_div(p.cols, kBlockColsMultiple));
}

template <class T>
void GemmPlan<T>::run(int64_t task) const {
  const Gemm<T>& p = problem_;
  const int64_t col_block = task % col_blocks_;
  const int64_t row_block = task / col_blocks_ % row_blocks_;
  int64_t entry = task / col_blocks_ / row_blocks_;

  Block<T> block;
  block.terms = p.terms;
  block.c = p.c + entry * p.rows * p.cols;
  block.c_stride = p.cols;
  block.depth = p.depth;
  block.rows = cut_range(p.rows, row_blocks_, row_block, 8);
  block.cols = cut_range(p.cols, col_blocks_, col_block, kBlockColsMultiple);
  for (int t = 0; t < p.terms; ++t) {
    block.a[t] = p.a[t];
    block.b[t] = p.b[t];
  }
  for (int d = p.batch_dims - 1; d >= 0; --d) {
    const int64_t index = entry % p.batch_shape[d];
    entry /= p.batch_shape[d];
    for (int t = 0; t < p.terms; ++t) {
      block.a[t].data += index * p.a[t].batch_stride[d];
      block.b[t].data += index * p.b[t].batch_stride[d];
    }
  }
  kernels().gemm(block);
}

template struct Gemm<uint32_t>;
template struct Gemm<uint64_t>;
template class GemmPlan<uint32_t>;
template class GemmPlan<uint64_t>;

}  // namespace jsmpc
