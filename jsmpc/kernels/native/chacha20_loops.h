// ChaCha20 (RFC 8439), word-major. Included once in the namespace of each
// instruction set, which defines Words (a vector of uint32_t, one lane a
// block), rotate<n>(), copy_words() and
// finish_copies().

constexpr int kBlocksPerVector = sizeof(Words) / sizeof(uint32_t);

inline void quarter_round(Words& a, Words& b, Words& c, Words& d) {
  a += b, d = rotate<16>(d ^ a);
  c += d, b = rotate<12>(b ^ c);
  a += b, d = rotate<8>(d ^ a);
  c += d, b = rotate<7>(b ^ c);
}

inline void double_round(Words (&x)[16]) {
  quarter_round(x[0], x[4], x[8], x[12]);
  quarter_round(x[1], x[5], x[9], x[13]);
  quarter_round(x[2], x[6], x[10], x[14]);
  quarter_round(x[3], x[7], x[11], x[15]);
  quarter_round(x[0], x[5], x[10], x[15]);
  quarter_round(x[1], x[6], x[11], x[12]);
  quarter_round(x[2], x[7], x[8], x[13]);
  quarter_round(x[3], x[4], x[9], x[14]);
}

inline Words counters(uint32_t first) {
  Words lanes;
  for (int i = 0; i < kBlocksPerVector; ++i) lanes[i] = first + i;
  return lanes;
}

// Word w of these blocks goes to out[w * stride ...].
inline void blocks(const uint32_t (&state)[16], Words counter, uint32_t* out,
                   int64_t stride) {
  Words x[16];
  for (int w = 0; w < 16; ++w) x[w] = state[w] - Words{};
  x[12] = counter;
  for (int round = 0; round < 20; round += 2) double_round(x);
  x[12] += counter - state[12];
  for (int w = 0; w < 16; ++w) {
    x[w] += state[w];
    std::memcpy(out + w * stride, &x[w], sizeof x[w]);
  }
}

// Writes blocks first..last. They are staged, for the 16 rows of the result are
// often at distances that fall on the same lines of the cache.
inline void keystream(const Keystream& k, int64_t first, int64_t last) {
  constexpr int64_t kStaged = 256;
  alignas(64) uint32_t staged[16 * kStaged];
  uint32_t state[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  std::memcpy(state + 4, k.key, 8 * sizeof(uint32_t));
  std::memcpy(state + 13, k.nonce, 3 * sizeof(uint32_t));
  for (int64_t from = first; from < last; from += kStaged) {
    const int64_t count = std::min(kStaged, last - from);
    for (int64_t j = 0; j < count; j += kBlocksPerVector)
      blocks(state, counters(from + j), staged + j, kStaged);
    for (int w = 0; w < 16; ++w)
      copy_words(k.out + w * k.blocks + from, staged + w * kStaged, count,
                 k.streaming);
  }
  if (k.streaming) finish_copies();
}
