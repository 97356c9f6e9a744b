// The arithmetic of the kernels on registers alone. Included once in the
// namespace of each instruction set, after its kernels.

// Sums of products of uint64_t; a multiply and an add are two operations.
inline Work peak_gemm(int64_t rounds) {
  using L = Lanes<uint64_t>;
  using Vec = typename L::Vec;
  constexpr int kSums = sizeof(Vec) == 64 ? 12 : 4;
  typename L::Sum sum[kSums] = {};
  Vec x[kSums];
  for (int i = 0; i < kSums; ++i) x[i] = broadcast(uint64_t(rounds + i));
  Vec y = x[0];
  const Vec change = broadcast(uint64_t(rounds) * 0x9E3779B97F4A7C15u);
  // Nothing is to be unrolled or linear: x y + x z would become x (y + z).
#pragma GCC unroll 1
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) L::add_product(sum[i], y, x[i]);
    y ^= change;
  }
  uint64_t sink = 0;
  for (int i = 0; i < kSums; ++i) {
    const Vec total = L::value(sum[i]);
    for (int j = 0; j < kLanes<uint64_t>; ++j) sink += total[j];
  }
  return {rounds * kSums * kLanes<uint64_t> * 2, sink};
}

// ChaCha20 blocks, in bytes: the rounds and the last addition, of which each
// block is the next one's input.
inline Work peak_keystream(int64_t rounds) {
  State s;
  for (int w = 0; w < 16; ++w)
    for (int v = 0; v < kVectors; ++v) s.x[w][v] = uint32_t(rounds + 16 * v + w) - Words{};
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 1
    for (int round = 0; round < 20; round += 2) double_round(s);
#pragma GCC unroll 16
    for (int w = 0; w < 16; ++w)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) s.x[w][v] += uint32_t(rounds + w);
  }
  uint64_t sink = 0;
  for (int w = 0; w < 16; ++w)
    for (int v = 0; v < kVectors; ++v)
      for (int i = 0; i < kLanesOfWords; ++i) sink += s.x[w][v][i];
  return {rounds * 64 * kBlocksAtOnce, sink};
}
