// Block products. Included once in the namespace of each instruction set, which
// defines Lanes<T>: Vec, Sum, add_product(), value(), kTileRows, kTileVectors.
//
// Additions are cheaper than multiplications, so two terms of an inner product
// take one multiplication (Winograd 1968), exact in any commutative ring:
//   a0 b0 + a1 b1 = (a0 + b1)(a1 + b0) - a0 a1 - b0 b1
// where the last two depend on one operand alone.

template <class T>
constexpr int kLanes = sizeof(typename Lanes<T>::Vec) / sizeof(T);
template <class T>
constexpr int kTileCols = Lanes<T>::kTileVectors * kLanes<T>;

constexpr int64_t kLine = 64;
constexpr int64_t kAhead = 8;  // rows of a copied operand to prefetch
template <class T>
constexpr int64_t kSliceDepth = 4096 / sizeof(T);
constexpr int64_t kPackedRows = 128;  // of A: a slice stays in L2

constexpr int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }

template <class T>
inline typename Lanes<T>::Vec load(const T* p) {
  typename Lanes<T>::Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// The first `count` lanes, or all.
template <class T>
inline typename Lanes<T>::Vec load_some(const T* p, int64_t count) {
  if (count >= kLanes<T>) return load(p);
  T lanes[kLanes<T>] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = p[i];
  return load(lanes);
}

template <class T>
inline void store(T* p, typename Lanes<T>::Vec v) {
  std::memcpy(p, &v, sizeof v);
}

template <class T>
inline typename Lanes<T>::Vec broadcast(T x) {
  return x - typename Lanes<T>::Vec{};
}

// What a tile reads of an operand: [depth][width] elements of as many rows of A
// or columns of B, and for each of these the sum of a0 a1, or b0 b1.
template <class T>
struct Panel {
  const T* packed;
  const T* neighbours;
};

// Where a tile goes: added to what is there unless `fresh`.
template <class T>
struct Target {
  T* c;
  int64_t stride, cols;
  bool fresh;
};

template <class T>
inline void put(const Target<T>& to, int row, int col,
                typename Lanes<T>::Vec value) {
  T* c = to.c + row * to.stride + col;
  if (col + kLanes<T> <= to.cols) {
    store(c, to.fresh ? value : value + load(c));
    return;
  }
  T lanes[kLanes<T>];
  store(lanes, value);
  for (int i = 0; col + i < to.cols; ++i)
    c[i] = to.fresh ? lanes[i] : lanes[i] + c[i];
}

template <class T, int R, int C>
void tile(int64_t depth, Panel<T> pa, Panel<T> pb, const Target<T>& to) {
  using L = Lanes<T>;
  using Vec = typename L::Vec;
  constexpr int kWidth = kTileCols<T>;
  typename L::Sum sum[R][C] = {};
  const T* a = pa.packed;
  const T* b = pb.packed;
  for (int i = 0; i < R; ++i)
    for (int j = 0; j < C * kLanes<T>; j += kLine / sizeof(T))
      __builtin_prefetch(to.c + i * to.stride + j, 1);
  for (int64_t k = 0; k < depth; k += 2) {
    Vec even[C], odd[C];
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      even[j] = load(b + j * kLanes<T>);
      odd[j] = load(b + kWidth + j * kLanes<T>);
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Vec x = broadcast(a[i]), y = broadcast(a[L::kTileRows + i]);
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j)
        L::add_product(sum[i][j], x + odd[j], y + even[j]);
    }
    a += 2 * L::kTileRows;
    b += 2 * kWidth;
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j)
      put(to, i, j * kLanes<T>,
          L::value(sum[i][j]) - load(pb.neighbours + j * kLanes<T>) -
              pa.neighbours[i]);
}

template <class T, int R = Lanes<T>::kTileRows, int C = Lanes<T>::kTileVectors>
void tile_of(int64_t rows, int64_t vectors, int64_t depth, Panel<T> a,
             Panel<T> b, const Target<T>& to) {
  if constexpr (R > 1)
    if (rows < R) return tile_of<T, R - 1, C>(rows, vectors, depth, a, b, to);
  if constexpr (C > 1)
    if (vectors < C)
      return tile_of<T, R, C - 1>(rows, vectors, depth, a, b, to);
  tile<T, R, C>(depth, a, b, to);
}

template <class T, size_t... I>
inline void interleave(typename Lanes<T>::Vec& x, typename Lanes<T>::Vec& y,
                       std::index_sequence<I...>) {
  constexpr int n = kLanes<T>;
  const auto low = __builtin_shufflevector(x, y, (I % 2 * n + I / 2)...);
  y = __builtin_shufflevector(x, y, (I % 2 * n + I / 2 + n / 2)...);
  x = low;
}

// A perfect shuffle for each bit of the index.
template <class T>
inline void transpose(typename Lanes<T>::Vec (&v)[kLanes<T>]) {
  constexpr int n = kLanes<T>;
#pragma GCC unroll 4
  for (int bit = 1; bit < n; bit *= 2) {
    typename Lanes<T>::Vec w[n];
#pragma GCC unroll 8
    for (int i = 0; i < n / 2; ++i) {
      w[2 * i] = v[i];
      w[2 * i + 1] = v[i + n / 2];
      interleave<T>(w[2 * i], w[2 * i + 1], std::make_index_sequence<n>{});
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) v[i] = w[i];
  }
}

// A slice of the depth of some rows of A, or columns of B, in panels of W.
template <class T, int W>
class Packed {
  using Vec = typename Lanes<T>::Vec;

 public:
  static int64_t size_of(int64_t count, int64_t depth) {
    const int64_t padded = ceil_div(count, kUnit) * kUnit;
    return padded + padded / W * panel_of(depth);
  }

  // Element (i, k) is in[i * stride + k * depth_stride]; one stride is 1.
  Packed(T* memory, const T* in, int64_t count, int64_t stride, int64_t depth,
         int64_t depth_stride)
      : count_(count),
        depth_(depth),
        panel_(panel_of(depth)),
        neighbours_(memory),
        data_(memory + ceil_div(count, kUnit) * kUnit) {
    std::fill(neighbours_, data_, T{0});
    if (stride == 1)
      copy(in, depth_stride);
    else
      copy_transposed(in, stride);
  }

  Panel<T> at(int64_t i) const {
    return {data_ + i / W * panel_, neighbours_ + i};
  }

 private:
  static_assert(W % kLanes<T> == 0 || kLanes<T> % W == 0);
  static constexpr int kUnit = W > kLanes<T> ? W : kLanes<T>;

  // The odd line keeps panels off each other's cache sets.
  static int64_t panel_of(int64_t depth) {
    return W * (depth + depth % 2) + kLine / sizeof(T);
  }

  // Elements i, i + 1, ... of depth k.
  void place(int64_t i, int64_t k, Vec v) {
    constexpr int kPart = W < kLanes<T> ? W : kLanes<T>;
    T lanes[kLanes<T>];
    store(lanes, v);
    for (int p = 0; p < kLanes<T>; p += kPart, i += kPart)
      std::memcpy(data_ + i / W * panel_ + k * W + i % W, lanes + p,
                  kPart * sizeof(T));
  }

  void add_neighbours(int64_t i, Vec product) {
    store(neighbours_ + i, load(neighbours_ + i) + product);
  }

  void copy(const T* in, int64_t pitch) {
    for (int64_t k = 0; k < depth_; k += 2, in += 2 * pitch)
      for (int64_t i = 0; i < count_; i += kLanes<T>) {
        const int64_t n = count_ - i;
        const Vec even = load_some(in + i, n);
        const Vec odd = k + 1 < depth_ ? load_some(in + pitch + i, n) : Vec{};
        __builtin_prefetch(in + kAhead * pitch + i, 0, 2);
        __builtin_prefetch(in + (kAhead + 1) * pitch + i, 0, 2);
        place(i, k, even);
        place(i, k + 1, odd);
        add_neighbours(i, even * odd);
      }
  }

  void copy_transposed(const T* in, int64_t pitch) {
    for (int64_t i = 0; i < count_; i += kLanes<T>)
      for (int64_t k = 0; k < depth_; k += kLanes<T>)
        copy_square(in + i * pitch + k, pitch, i, k);
  }

  void copy_square(const T* in, int64_t pitch, int64_t i, int64_t k) {
    constexpr int n = kLanes<T>;
    Vec v[n];
#pragma GCC unroll 16
    for (int r = 0; r < n; ++r)
      v[r] = i + r < count_ ? load_some(in + r * pitch, depth_ - k) : Vec{};
    transpose<T>(v);
    Vec products{};
#pragma GCC unroll 16
    for (int r = 0; r < n; r += 2) {
      if (k + r >= depth_) break;
      place(i, k + r, v[r]);
      place(i, k + r + 1, v[r + 1]);
      products += v[r] * v[r + 1];
    }
    add_neighbours(i, products);
  }

  int64_t count_, depth_, panel_;
  T* neighbours_;
  T* data_;
};

// Adds A B over one slice of the depth to some rows of the block.
template <class T, class PackedA, class PackedB>
void add_rows(const PackedA& a, const PackedB& b, int64_t rows, int64_t cols,
              int64_t depth, const Target<T>& to) {
  constexpr int64_t kRows = Lanes<T>::kTileRows, kCols = kTileCols<T>;
  for (int64_t j = 0; j < cols; j += kCols) {
    const int64_t width = std::min(kCols, cols - j);
    for (int64_t i = 0; i < rows; i += kRows)
      tile_of<T>(std::min(kRows, rows - i), ceil_div(width, kLanes<T>), depth,
                 a.at(i), b.at(j),
                 {to.c + i * to.stride + j, to.stride, width, to.fresh});
  }
}

// Adds A B over one slice of the depth to the block, or starts it.
template <class T>
void add_slice(const Block<T>& block, const Matrix<T>& a, const Matrix<T>& b,
               Range slice, bool fresh) {
  using PackedA = Packed<T, Lanes<T>::kTileRows>;
  using PackedB = Packed<T, kTileCols<T>>;
  const int64_t cols = block.cols.size(), depth = slice.size();
  const int64_t most_rows = std::min(block.rows.size(), kPackedRows);
  const int64_t size_a =
      ceil_div(PackedA::size_of(most_rows, depth), kLine) * kLine;
  T* const memory = static_cast<T*>(
      workspace((size_a + PackedB::size_of(cols, depth)) * sizeof(T)));
  const PackedB packed_b(memory + size_a,
                         b.data + slice.begin * b.row_stride +
                             block.cols.begin * b.col_stride,
                         cols, b.col_stride, depth, b.row_stride);
  for (int64_t i = block.rows.begin; i < block.rows.end; i += kPackedRows) {
    const int64_t rows = std::min(kPackedRows, block.rows.end - i);
    const PackedA packed_a(
        memory, a.data + i * a.row_stride + slice.begin * a.col_stride, rows,
        a.row_stride, depth, a.col_stride);
    add_rows<T>(packed_a, packed_b, rows, cols, depth,
                {block.c + i * block.c_stride + block.cols.begin,
                 block.c_stride, cols, fresh});
  }
}

// Up to so many rows, packing B would cost more than the products.
constexpr int64_t kFewRows = 4;
constexpr int kTogether = 8;  // rows of B in one pass over C

template <class T>
using Factors = T[kTogether];

// c[j] += sum over q of x[q] b[q][j]
template <class T>
void add_combination(T* c, int64_t cols, const Factors<T>& x,
                     const T* const (&b)[kTogether]) {
  using L = Lanes<T>;
  int64_t j = 0;
  for (; j + kLanes<T> <= cols; j += kLanes<T>) {
    typename L::Sum sum = {};
#pragma GCC unroll 8
    for (int q = 0; q < kTogether; ++q)
      L::add_product(sum, broadcast(x[q]), load(b[q] + j));
    store(c + j, load(c + j) + L::value(sum));
  }
  for (; j < cols; ++j)
    for (int q = 0; q < kTogether; ++q) c[j] += x[q] * b[q][j];
}

// Rows of B are contiguous.
template <class T>
void add_combinations(const Block<T>& block, const Matrix<T>& a,
                      const Matrix<T>& b) {
  for (int64_t k = 0; k < block.depth; k += kTogether)
    for (int64_t i = block.rows.begin; i < block.rows.end; ++i) {
      Factors<T> x = {};
      const T* rows[kTogether];
      for (int q = 0; q < kTogether; ++q) {
        const bool inside = k + q < block.depth;
        if (inside) x[q] = a.data[i * a.row_stride + (k + q) * a.col_stride];
        rows[q] =
            b.data + (inside ? k + q : k) * b.row_stride + block.cols.begin;
      }
      add_combination(block.c + i * block.c_stride + block.cols.begin,
                      block.cols.size(), x, rows);
    }
}

// c[j] += sum over k of x[k] y[j * stride + k], for j < n
template <class T, int n>
void add_dots(T* c, int64_t depth, const T* x, const T* y, int64_t stride) {
  using L = Lanes<T>;
  typename L::Sum sum[n] = {};
  int64_t k = 0;
  for (; k + kLanes<T> <= depth; k += kLanes<T>)
#pragma GCC unroll 8
    for (int j = 0; j < n; ++j)
      L::add_product(sum[j], load(x + k), load(y + j * stride + k));
  for (int j = 0; j < n; ++j) {
    T lanes[kLanes<T>];
    store(lanes, L::value(sum[j]));
    for (const T lane : lanes) c[j] += lane;
    for (int64_t q = k; q < depth; ++q) c[j] += x[q] * y[j * stride + q];
  }
}

// Rows of A and columns of B are contiguous.
template <class T>
void add_all_dots(const Block<T>& block, const Matrix<T>& a,
                  const Matrix<T>& b) {
  constexpr int kDots = 4;
  for (int64_t i = block.rows.begin; i < block.rows.end; ++i) {
    const T* x = a.data + i * a.row_stride;
    T* c = block.c + i * block.c_stride;
    int64_t j = block.cols.begin;
    for (; j + kDots <= block.cols.end; j += kDots)
      add_dots<T, kDots>(c + j, block.depth, x, b.data + j * b.col_stride,
                         b.col_stride);
    for (; j < block.cols.end; ++j)
      add_dots<T, 1>(c + j, block.depth, x, b.data + j * b.col_stride, 0);
  }
}

template <class T>
void clear(const Block<T>& block) {
  for (int64_t i = block.rows.begin; i < block.rows.end; ++i)
    std::fill_n(block.c + i * block.c_stride + block.cols.begin,
                block.cols.size(), T{0});
}

template <class T>
void add_tiles(const Block<T>& block) {
  for (int t = 0; t < block.terms; ++t)
    for (int64_t k = 0; k < block.depth; k += kSliceDepth<T>)
      add_slice(block, block.a[t], block.b[t],
                {k, std::min(k + kSliceDepth<T>, block.depth)},
                t == 0 && k == 0);
}

template <class T>
void gemm(const Block<T>& block) {
  if (block.depth == 0) return clear(block);
  const auto rows_of_b = [&](int t) { return block.b[t].col_stride == 1; };
  const auto both_along_depth = [&](int t) {
    return block.a[t].col_stride == 1 && block.b[t].row_stride == 1;
  };
  bool in_place = block.rows.size() <= kFewRows;
  for (int t = 0; t < block.terms; ++t)
    in_place = in_place && (rows_of_b(t) || both_along_depth(t));
  if (!in_place) return add_tiles(block);
  clear(block);
  for (int t = 0; t < block.terms; ++t)
    if (rows_of_b(t))
      add_combinations(block, block.a[t], block.b[t]);
    else
      add_all_dots(block, block.a[t], block.b[t]);
}
