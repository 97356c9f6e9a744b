// C = sum over t of A_t B_t in Z_2^32 or Z_2^64, for a batch of matrices.
#pragma once

#include <cstdint>

namespace jsmpc {

constexpr int kMaxTerms = 4;
constexpr int kMaxBatchDims = 8;

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

template <class T>
struct Matrix {
  const T* data;
  int64_t row_stride, col_stride;
};

// Rows and columns of one matrix of the result: what one task computes.
template <class T>
struct Block {
  int terms;
  Matrix<T> a[kMaxTerms], b[kMaxTerms];
  T* c;
  int64_t c_stride, depth;
  Range rows, cols;
};

template <class T>
struct Gemm {
  struct Operand : Matrix<T> {
    int64_t batch_stride[kMaxBatchDims];  // 0 where it is broadcast
  };

  int64_t rows, cols, depth;
  int batch_dims;
  int64_t batch_shape[kMaxBatchDims];
  int terms;
  Operand a[kMaxTerms], b[kMaxTerms];
  T* c;  // row-major [batch..., rows, cols]

  int64_t batch() const;
};

// Cuts a product into tasks that may run in any order on any thread.
template <class T>
class GemmPlan {
 public:
  GemmPlan(const Gemm<T>& problem, int64_t threads);

  int64_t tasks() const { return problem_.batch() * row_blocks_ * col_blocks_; }
  int64_t grain() const { return grain_; }
  void run(int64_t task) const;

 private:
  bool shares_b() const;
  void fold_batch_into_rows();
  void turn_column_into_row();
  void cut(int64_t threads);

  Gemm<T> problem_;
  int64_t row_blocks_ = 1, col_blocks_ = 1, grain_ = 1;
};

}  // namespace jsmpc
