// Every kernel of every instruction set against naive loops, over sizes that do
// not divide the tiles. Buffers are as large as their arrays and each case runs
// on threads of its own, whose scratch memory is new, so that sanitizers see
// accesses beyond them.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "chacha20.h"
#include "compare.h"
#include "fss.h"
#include "gemm.h"
#include "kernels.h"
#include "parallel.h"
#include "peak.h"
#include "program.h"

namespace jsmpc {
namespace {

class Threads {
 public:
  ~Threads() {
    for (std::thread& thread : threads_) thread.join();
  }
  int64_t num_threads() const { return 3; }
  void Schedule(std::function<void()> task) {
    threads_.emplace_back(std::move(task));
  }

 private:
  std::vector<std::thread> threads_;
};

std::mt19937_64 generator;

template <class T>
std::vector<T> random_words(int64_t size) {
  std::vector<T> words(size);
  for (T& word : words) word = static_cast<T>(generator());
  return words;
}

void require(bool passed, const char* what, int64_t x, int64_t y, int64_t z) {
  if (passed) return;
  std::fprintf(stderr, "%s differs at %ld, %ld, %ld\n", what, long(x), long(y),
               long(z));
  std::exit(1);
}

struct Shape {
  int64_t batch, rows, depth, cols;
};

template <class T>
typename Gemm<T>::Operand operand(const std::vector<T>& data, bool transposed,
                                  bool shared, int64_t rows, int64_t cols) {
  typename Gemm<T>::Operand view{};
  view.data = data.data();
  view.row_stride = transposed ? 1 : cols;
  view.col_stride = transposed ? rows : 1;
  view.batch_stride[0] = shared ? 0 : rows * cols;
  return view;
}

template <class T>
T entry(const Gemm<T>& gemm, int64_t batch, int64_t i, int64_t j) {
  T sum = 0;
  for (int t = 0; t < gemm.terms; ++t) {
    const auto &a = gemm.a[t], &b = gemm.b[t];
    for (int64_t k = 0; k < gemm.depth; ++k)
      sum += a.data[batch * a.batch_stride[0] + i * a.row_stride +
                    k * a.col_stride] *
             b.data[batch * b.batch_stride[0] + k * b.row_stride +
                    j * b.col_stride];
  }
  return sum;
}

template <class T>
void check_gemm(const Shape& s, int terms, bool transpose_a, bool transpose_b,
                bool share_b) {
  std::vector<std::vector<T>> data;
  std::vector<T> c = random_words<T>(s.batch * s.rows * s.cols);
  Gemm<T> gemm{};
  gemm.rows = s.rows, gemm.cols = s.cols, gemm.depth = s.depth;
  gemm.batch_dims = 1, gemm.batch_shape[0] = s.batch;
  gemm.terms = terms, gemm.c = c.data();
  for (int t = 0; t < terms; ++t) {
    data.push_back(random_words<T>(s.batch * s.rows * s.depth));
    gemm.a[t] = operand(data.back(), transpose_a, false, s.rows, s.depth);
    data.push_back(random_words<T>((share_b ? 1 : s.batch) * s.depth * s.cols));
    gemm.b[t] = operand(data.back(), transpose_b, share_b, s.depth, s.cols);
  }
  std::thread([&] {
    Threads pool;
    const GemmPlan<T> plan(gemm, pool.num_threads());
    parallel_for(pool, plan.tasks(), plan.grain(),
                 [&](int64_t task) { plan.run(task); });
  }).join();
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t i = 0; i < s.rows; ++i)
      for (int64_t j = 0; j < s.cols; ++j)
        require(c[(b * s.rows + i) * s.cols + j] == entry(gemm, b, i, j),
                "product", s.rows, s.depth, s.cols);
}

void check_gemms() {
  const Shape shapes[] = {
      {1, 1, 1, 1},    {2, 3, 0, 5},    {0, 3, 4, 5},    {1, 0, 4, 5},
      {3, 1, 7, 1},    {2, 1, 300, 37}, {2, 4, 65, 33},  {2, 37, 300, 1},
      {1, 5, 3, 7},    {3, 7, 17, 15},  {2, 8, 16, 32},  {1, 9, 31, 33},
      {2, 13, 513, 9}, {1, 65, 67, 63}, {1, 130, 5, 70}, {1, 257, 19, 33},
      {1, 6, 9, 515},  {1, 70, 257, 49}};
  for (const Shape& shape : shapes)
    for (int variant = 0; variant < 8; ++variant) {
      const bool transpose_a = variant & 1, transpose_b = variant & 2;
      const bool share_b = variant & 4;
      const int terms = 1 + variant % 3;
      check_gemm<uint32_t>(shape, terms, transpose_a, transpose_b, share_b);
      check_gemm<uint64_t>(shape, terms, transpose_a, transpose_b, share_b);
    }
}

void mix(uint32_t& a, uint32_t b, uint32_t& d, int n) {
  a += b;
  d ^= a;
  d = d << n | d >> (32 - n);
}

uint32_t word(const uint32_t* key, const uint32_t* nonce, uint32_t block,
              int w) {
  uint32_t x[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  for (int i = 0; i < 8; ++i) x[4 + i] = key[i];
  for (int i = 0; i < 3; ++i) x[13 + i] = nonce[i];
  x[12] = block;
  const uint32_t start = x[w];
  for (int round = 0; round < 20; ++round)
    for (int i = 0; i < 4; ++i) {
      const int s = round % 2;
      uint32_t &a = x[i], &b = x[4 + (i + s) % 4], &c = x[8 + (i + 2 * s) % 4],
               &d = x[12 + (i + 3 * s) % 4];
      mix(a, b, d, 16), mix(c, d, b, 12), mix(a, b, d, 8), mix(c, d, b, 7);
    }
  return x[w] + start;
}

void check_keystream(int64_t blocks, int64_t first, int64_t last) {
  const auto key = random_words<uint32_t>(8);
  const auto nonce = random_words<uint32_t>(3);
  std::vector<uint32_t> out(16 * blocks, 7);
  kernels().keystream({key.data(), nonce.data(), out.data(), blocks}, first,
                      last);
  for (int w = 0; w < 16; ++w)
    for (int64_t j = 0; j < blocks; ++j) {
      const bool written = first <= j && j < last;
      const uint32_t expected =
          written ? word(key.data(), nonce.data(), j, w) : 7;
      require(out[w * blocks + j] == expected, "keystream", blocks, w, j);
    }
}

void check_keystreams() {
  for (int64_t blocks :
       {0, 1, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 63, 64, 100}) {
    check_keystream(blocks, 0, blocks);
    check_keystream(blocks, blocks / 3, blocks - blocks / 4);
  }
}

template <class T>
constexpr int64_t kType = sizeof(T) == 8 ? 3 : sizeof(T) / 2;

template <class T>
Array array(const std::vector<T>& data) {
  return {reinterpret_cast<uint8_t*>(const_cast<T*>(data.data())),
          int64_t(data.size() * sizeof(T))};
}

class Builder {
 public:
  explicit Builder(int64_t elements) { program_.elements = elements; }

  template <class T>
  int64_t scratch() {
    return add({kScratch, 0, 0, kType<T>});
  }
  template <class T>
  int64_t operand(const std::vector<T>& data, int64_t offset = 0,
                  Place place = kOperand) {
    program_.operands.push_back(array(data));
    return add({place, int64_t(program_.operands.size()) - 1, offset, kType<T>});
  }
  // Among the operands.
  int64_t key(const std::vector<uint32_t>& data) {
    program_.operands.push_back(array(data));
    return int64_t(program_.operands.size()) - 1;
  }
  template <class T>
  int64_t result(std::vector<T>& data, int64_t offset = 0) {
    program_.results.push_back(array(data));
    return add({kResult, int64_t(program_.results.size()) - 1, offset, kType<T>});
  }
  template <class T>
  void emit(int64_t op, int64_t result, int64_t a, int64_t b, int64_t constant) {
    instructions_.push_back({op, kType<T>, result, a, b, constant});
  }

  void run() {
    program_.instructions = instructions_.data();
    program_.count = instructions_.size();
    program_.registers = registers_.data();
    program_.register_count = registers_.size();
    if (!program_.sound()) std::abort();
    std::thread([&] {
      Threads pool;
      jsmpc::run(program_, pool);
    }).join();
  }

 private:
  int64_t add(const Register& r) {
    registers_.push_back(r);
    return int64_t(registers_.size()) - 1;
  }

  Program program_{};
  std::vector<Instruction> instructions_;
  std::vector<Register> registers_;
};

template <class T>
T naive(int64_t op, T x, T y, T c) {
  const uint64_t a = x, bits = 8 * sizeof(T);
  switch (op) {
    case kAdd: return T(a + y);
    case kSub: return T(a - y);
    case kMul: return T(a * y);
    case kAnd: return x & y;
    case kOr: return x | y;
    case kXor: return x ^ y;
    case kShiftLeft: return y < bits ? T(a << y) : T(0);
    case kShiftRight: return y < bits ? T(a >> y) : T(0);
    case kDiv: return y ? T(a / y) : T(~T(0));
    case kAddConstant: return T(a + c);
    case kMulConstant: return T(a * c);
    case kAndConstant: return x & c;
    case kOrConstant: return x | c;
    case kXorConstant: return x ^ c;
    case kShiftLeftConstant: return T(a << c);
    case kShiftRightConstant: return T(a >> c);
    case kDivConstant: return T(a / c);
    case kNegate: return T(0 - a);
    case kNot: return T(~a);
    case kConstant: return c;
  }
  std::abort();
}

// All bits, or few of them: shifts by less than a word and more, divisions by 0.
template <class T>
std::vector<T> mixed_words(int64_t size) {
  std::vector<T> words = random_words<T>(size);
  for (T& word : words)
    if (generator() % 2) word %= 16 * sizeof(T);
  return words;
}

// direct = op(x, y); later = op(op(x, scalar), y), by way of scratch memory.
template <class T>
void check_op(int64_t op, int64_t n) {
  constexpr int64_t kBefore = 3;
  const auto x = mixed_words<T>(kBefore + n), y = mixed_words<T>(n);
  const auto scalars = mixed_words<T>(5);
  std::vector<T> direct(n, 7), later(kBefore + n, 7);
  T c = mixed_words<T>(1)[0];
  if (op == kShiftLeftConstant || op == kShiftRightConstant) c %= 8 * sizeof(T);
  if (op == kDivConstant && c == 0) c = 3;

  Builder program(n);
  const int64_t between = program.scratch<T>();
  const int64_t rx = program.operand(x, kBefore), ry = program.operand(y);
  const int64_t scalar = program.operand(scalars, 4, kScalar);
  program.emit<T>(op, program.result(direct), rx, ry, int64_t(c));
  program.emit<T>(op, between, rx, scalar, int64_t(c));
  program.emit<T>(op, program.result(later, kBefore), between, ry, int64_t(c));
  program.run();
  for (int64_t i = 0; i < n; ++i) {
    const T u = x[kBefore + i], v = y[i];
    const T w = naive<T>(op, u, scalars[4], c);
    require(direct[i] == naive<T>(op, u, v, c), "operation", op, kType<T>, i);
    require(later[kBefore + i] == naive<T>(op, w, v, c), "operation on scratch",
            op, kType<T>, i);
  }
  for (int64_t i = 0; i < kBefore; ++i)
    require(later[i] == 7, "what is before a result", op, kType<T>, i);
}

template <class T, class From>
void check_conversion(int64_t n) {
  const auto x = random_words<From>(n);
  std::vector<T> direct(n), later(n);
  Builder program(n);
  const int64_t between = program.scratch<T>(), rx = program.operand(x);
  program.emit<T>(kConvert, program.result(direct), rx, 0, kType<From>);
  program.emit<T>(kConvert, between, rx, 0, kType<From>);
  program.emit<T>(kNot, program.result(later), between, 0, 0);
  program.run();
  for (int64_t i = 0; i < n; ++i)
    require(direct[i] == T(x[i]) && later[i] == T(~T(x[i])), "conversion",
            kType<From>, kType<T>, i);
}

// The stream's word at `index`, where 16 blocks are a tile.
uint32_t stream_word(const uint32_t* key, uint64_t number, int64_t index) {
  const uint32_t nonce[3] = {uint32_t(number), uint32_t(number >> 32), 0};
  const int64_t tile = index / 256, w = index % 256 / 16, j = index % 16;
  return word(key, nonce, uint32_t(16 * tile + j), int(w));
}

template <class T>
void check_draw(int64_t n) {
  constexpr int64_t kBefore = 3;
  const auto keys = random_words<uint32_t>(kBefore + 8);
  const auto x = random_words<T>(n);
  const uint64_t number = generator();
  std::vector<T> direct(n), masked(n);
  Builder program(n);
  const int64_t between = program.scratch<T>(), rx = program.operand(x);
  const int64_t key = program.key(keys);
  program.emit<T>(kDraw, program.result(direct), key, kBefore, int64_t(number));
  program.emit<T>(kDraw, between, key, kBefore, int64_t(number) + 1);
  program.emit<T>(kAdd, program.result(masked), between, rx, 0);
  program.run();

  const int64_t words = (n * int64_t(sizeof(T)) + 3) / 4;
  std::vector<uint32_t> streams[2];
  for (int64_t i = 0; i < words; ++i)
    for (int s = 0; s < 2; ++s)
      streams[s].push_back(stream_word(keys.data() + kBefore, number + s, i));
  for (int64_t i = 0; i < n; ++i) {
    T drawn[2];
    for (int s = 0; s < 2; ++s)
      std::memcpy(&drawn[s], reinterpret_cast<char*>(streams[s].data()) + i * sizeof(T),
                  sizeof(T));
    require(direct[i] == drawn[0], "draw", n, kType<T>, i);
    require(masked[i] == T(drawn[1] + x[i]), "draw to scratch", n, kType<T>, i);
  }
}

template <class T>
void check_programs_of(int64_t n) {
  for (int64_t op = 0; op < kOps; ++op)
    if (op != kConvert && op != kDraw) check_op<T>(op, n);
  check_conversion<T, uint8_t>(n);
  check_conversion<T, uint16_t>(n);
  check_conversion<T, uint32_t>(n);
  check_conversion<T, uint64_t>(n);
  check_draw<T>(n);
}

void check_programs() {
  for (int64_t n : {0, 1, 1023, 1024, 1025, 5000, 20000}) {
    check_programs_of<uint8_t>(n);
    check_programs_of<uint16_t>(n);
    check_programs_of<uint32_t>(n);
    check_programs_of<uint64_t>(n);
  }
}

std::vector<uint8_t> random_below(int64_t size, int most) {
  std::vector<uint8_t> found = random_words<uint8_t>(size);
  for (uint8_t& x : found) x = uint8_t(x % most);
  return found;
}

// The c_i of one element in integers, moved, scaled and masked.
template <class T>
void check_comparison(int64_t n, bool first) {
  constexpr int kBits = 8 * sizeof(T);
  const auto x = random_below(kBits * n, 67), factor = random_below(kBits * n, 66),
             mask = random_below(kBits * n, 67), how = random_below(n, 4),
             place = random_below(n, kBits);
  const auto v = random_words<T>(n);
  std::vector<uint8_t> out(kBits * n);
  const Compare c = {x.data(),    v.data(),   how.data(), place.data(), factor.data(),
                     mask.data(), out.data(), kBits,      n,            first};
  for (int64_t at = 0; at < n; at += kStrip)
    kernels().compare(c, at, int(std::min<int64_t>(kStrip, n - at)));
  for (int64_t e = 0; e < n; ++e) {
    int above = 0, sums[kBits];
    for (int i = 0; i < kBits; ++i) {
      const int share = how[e] & 2 ? 0 : x[i * n + e], bit = int(v[e] >> (kBits - 1 - i) & 1);
      const int sign = how[e] & 1 ? -1 : 1;
      const int sum = first * (1 + sign * bit) - sign * share + above;
      sums[i] = first ? sum : -sum;
      above += bit ? first - share : share;
    }
    for (int i = 0; i < kBits; ++i) {
      const int scaled = sums[i ^ place[e]] * (factor[i * n + e] + 1) + mask[i * n + e];
      require(out[i * n + e] == (scaled % 67 + 67) % 67, "comparison", kBits, e, i);
    }
  }
}

void check_comparisons() {
  for (int64_t n : {0, 1, 63, 64, 65, 300})
    for (bool first : {false, true}) {
      check_comparison<uint32_t>(n, first);
      check_comparison<uint64_t>(n, first);
    }
}

// Keys of random functions, in parts, and their values at points near and far.
void check_functions_of(int64_t n, int width, bool comparison) {
  const int levels = levels_of(width, comparison);
  const auto first = random_words<uint64_t>(2 * n), second = random_words<uint64_t>(2 * n);
  const auto alpha = random_words<uint64_t>(n);
  std::vector<uint64_t> corrections(2 * (levels + 1) * n), portable = corrections;
  FunctionKeys keys = {{first.data(), second.data()}, alpha.data(), corrections.data(),
                       n, width, comparison};
  fss_kernels().generate(keys, 0, n / 3);
  fss_kernels().generate(keys, n / 3, n);
  const Isa isa = selected();
  select(Isa::kPortable);
  keys.corrections = portable.data();
  fss_kernels().generate(keys, 0, n);
  select(isa);
  require(corrections == portable, "function keys", n, width, comparison);

  constexpr int64_t kPoints = 4;
  auto x = random_words<uint64_t>(kPoints * n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t p = 0; p < 3; ++p) x[p * n + i] = alpha[i] + uint64_t(p) - 1;
  std::vector<uint8_t> bits[2];
  std::vector<uint64_t> numbers[2];
  for (int party = 0; party < 2; ++party) {
    bits[party].resize(comparison ? kPoints * n : 0);
    numbers[party].resize(comparison ? 0 : kPoints * n);
    const FunctionValues values = {party ? second.data() : first.data(), corrections.data(),
                                   x.data(), bits[party].data(), numbers[party].data(), n,
                                   kPoints, width, party, comparison};
    fss_kernels().evaluate(values, 0, n - n / 4);
    fss_kernels().evaluate(values, n - n / 4, n);
  }
  const uint64_t mask = width < 64 ? (uint64_t(1) << width) - 1 : ~uint64_t(0);
  for (int64_t i = 0; i < kPoints * n; ++i) {
    const uint64_t a = alpha[i % n];
    const uint64_t found =
        comparison ? bits[0][i] ^ bits[1][i] : numbers[0][i] + numbers[1][i];
    const uint64_t expected =
        comparison ? ((x[i] & mask) < (a & mask)) ^ (a >> width & 1) : (x[i] & mask) == (a & mask);
    require(found == expected, "function", n, width, i);
  }
}

void check_functions() {
  for (int64_t n : {0, 1, 31, 257})
    for (int width : {1, 2, 7, 8, 13, 63}) {
      check_functions_of(n, width, true);
      check_functions_of(n, width, false);
    }
  check_functions_of(33, 64, false);
}

void check_peaks() {
  require(jsmpc_peak_hashes(1, 1e-4) > 0, "rate", 2, 0, 0);
  require(jsmpc_peak_gops(3, 1e-4) > 0, "rate", 0, 0, 0);
  require(jsmpc_peak_keystream(1, 1e-4) > 0, "rate", 1, 0, 0);
}

}  // namespace
}  // namespace jsmpc

int main() {
  using jsmpc::Isa;
  const std::pair<Isa, const char*> sets[] = {{Isa::kPortable, "portable"},
                                              {Isa::kAvx2, "AVX2"},
                                              {Isa::kAvx512, "AVX-512"}};
  for (const auto& [isa, name] : sets) {
    if (!jsmpc::supported(isa)) {
      std::printf("%s: not supported here\n", name);
      continue;
    }
    jsmpc::select(isa);
    jsmpc::check_gemms();
    jsmpc::check_keystreams();
    jsmpc::check_programs();
    jsmpc::check_comparisons();
    jsmpc::check_functions();
    jsmpc::check_peaks();
    std::printf("%s: passed\n", name);
  }
}
