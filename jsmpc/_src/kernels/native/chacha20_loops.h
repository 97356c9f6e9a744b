// ChaCha20 (RFC 8439), word-major. Included once in the namespace of each
// instruction set, which defines Words (a vector of uint32_t, one lane a
// block), rotate<n>() and kVectors: how many vectors are computed side by side.

constexpr int kLanesOfWords = sizeof(Words) / sizeof(uint32_t);
constexpr int kBlocksAtOnce = kVectors * kLanesOfWords;

// Word w of every block computed at once.
struct State {
  Words x[16][kVectors];
};

template <int n>
inline void add_xor_rotate(State& s, int a, int b, int d) {
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    s.x[a][v] += s.x[b][v];
    s.x[d][v] = rotate<n>(s.x[d][v] ^ s.x[a][v]);
  }
}

inline void quarter_round(State& s, int a, int b, int c, int d) {
  add_xor_rotate<16>(s, a, b, d);
  add_xor_rotate<12>(s, c, d, b);
  add_xor_rotate<8>(s, a, b, d);
  add_xor_rotate<7>(s, c, d, b);
}

inline void double_round(State& s) {
  quarter_round(s, 0, 4, 8, 12);
  quarter_round(s, 1, 5, 9, 13);
  quarter_round(s, 2, 6, 10, 14);
  quarter_round(s, 3, 7, 11, 15);
  quarter_round(s, 0, 5, 10, 15);
  quarter_round(s, 1, 6, 11, 12);
  quarter_round(s, 2, 7, 8, 13);
  quarter_round(s, 3, 4, 9, 14);
}

// Word w of blocks first, first + 1, ...
inline Words input_words(const uint32_t (&input)[16], int w, uint32_t first) {
  Words words = input[w] - Words{};
  if (w == 12)
    for (int i = 0; i < kLanesOfWords; ++i) words[i] = first + i;
  return words;
}

// Word w of the blocks computed at once goes to out[w * stride], a vector of
// blocks every `vector_stride` words.
inline void compute(const uint32_t (&input)[16], uint32_t first, uint32_t* out,
                    int64_t stride, int64_t vector_stride = kLanesOfWords) {
  State s;
#pragma GCC unroll 16
  for (int w = 0; w < 16; ++w)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      s.x[w][v] = input_words(input, w, first + v * kLanesOfWords);
#pragma GCC unroll 1
  for (int round = 0; round < 20; round += 2) double_round(s);
#pragma GCC unroll 16
  for (int w = 0; w < 16; ++w)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      s.x[w][v] += input_words(input, w, first + v * kLanesOfWords);
      std::memcpy(out + w * stride + v * vector_stride, &s.x[w][v], sizeof(Words));
    }
}

// Writes blocks first..last.
inline void keystream(const Keystream& k, int64_t first, int64_t last) {
  uint32_t input[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  std::memcpy(input + 4, k.key, 8 * sizeof(uint32_t));
  std::memcpy(input + 13, k.nonce, 3 * sizeof(uint32_t));
  for (; first + kBlocksAtOnce <= last; first += kBlocksAtOnce)
    compute(input, first, k.out + first, k.blocks);
  if (first == last) return;
  uint32_t tail[16 * kBlocksAtOnce];
  compute(input, first, tail, kBlocksAtOnce);
  for (int w = 0; w < 16; ++w)
    std::memcpy(k.out + w * k.blocks + first, tail + w * kBlocksAtOnce,
                (last - first) * sizeof(uint32_t));
}

// Writes tiles first, first + 1, ... of 16 blocks each: word w of block j of a
// tile is out[16 * w + j], so that a long stream is written from end to end.
inline void draw(const uint32_t* key, const uint32_t* nonce, uint32_t* out, int64_t first,
                 int64_t tiles) {
  constexpr int kTileBlocks = 16, kTileWords = 16 * kTileBlocks;
  constexpr int64_t kVectorStride = kLanesOfWords == kTileBlocks ? kTileWords : kLanesOfWords;
  uint32_t input[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  std::memcpy(input + 4, key, 8 * sizeof(uint32_t));
  std::memcpy(input + 13, nonce, 3 * sizeof(uint32_t));
  const int64_t blocks = tiles * kTileBlocks;
  int64_t b = 0;
  for (; b + kBlocksAtOnce <= blocks; b += kBlocksAtOnce)
    compute(input, first * kTileBlocks + b,
            out + b / kTileBlocks * kTileWords + b % kTileBlocks, kTileBlocks, kVectorStride);
  if (b == blocks) return;
  uint32_t tail[16 * kBlocksAtOnce];
  compute(input, first * kTileBlocks + b, tail, kTileBlocks, kVectorStride);
  std::memcpy(out + b * 16, tail, (blocks - b) * 16 * sizeof(uint32_t));
}
