// Trees of blocks, an element a lane. Included once in the namespace of each instruction set,
// which defines kAtOnce, how many blocks are hashed together, and hash(lo, hi, out_lo, out_hi) of
// so many: pi(x) ^ x for AES pi.

constexpr int kGroup = 256;  // elements whose states stay in the cache, level after level
constexpr uint64_t kSeedBits = ~uint64_t(7);

struct alignas(64) Blocks {
  uint64_t lo[kGroup], hi[kGroup];
};

// Child `side` (0 or 1, or 2 for a leaf's value) of the blocks.
inline void children(const Blocks& parent, const uint64_t* side, Blocks& out, int n) {
  alignas(64) uint64_t lo[kAtOnce];
  for (int i = 0; i < n; i += kAtOnce) {
    for (int j = 0; j < kAtOnce; ++j) lo[j] = parent.lo[i + j] ^ side[i + j];
    hash(lo, parent.hi + i, out.lo + i, out.hi + i);
  }
}

inline void fill(uint64_t* out, uint64_t value) {
  for (int i = 0; i < kGroup; ++i) out[i] = value;
}

inline void load(uint64_t* out, const uint64_t* in, int n) {
  std::memcpy(out, in, n * sizeof(uint64_t));
  if (n < kGroup) std::memset(out + n, 0, (kGroup - n) * sizeof(uint64_t));
}

inline int padded(int n) { return (n + kAtOnce - 1) / kAtOnce * kAtOnce; }

inline uint64_t low_bits(int width) { return (uint64_t(1) << width) - 1; }  // fewer than 64

inline uint64_t mask_of(uint64_t bit) { return -(bit & 1); }

inline uint64_t chosen(uint64_t mask, uint64_t x, uint64_t y) { return y ^ (mask & (x ^ y)); }

// -x where the sign is a mask of ones.
inline uint64_t with_sign(uint64_t sign, uint64_t x) { return (x ^ sign) - sign; }

inline void generate_group(const FunctionKeys& keys, int64_t first, int n) {
  const int levels = levels_of(keys.width, keys.comparison), m = padded(n);
  const uint64_t comparison = keys.comparison;
  Blocks state[2], child[2][2];
  alignas(64) uint64_t alpha[kGroup], flip[kGroup], value[kGroup], on[2][kGroup];
  alignas(64) uint64_t sides[3][kGroup];
  for (int s = 0; s < 3; ++s) fill(sides[s], s);
  load(alpha, keys.alpha + first, n);
  for (int p = 0; p < 2; ++p) {
    load(state[p].lo, keys.seeds[p] + first, n);
    load(state[p].hi, keys.seeds[p] + keys.n + first, n);
    fill(on[p], mask_of(p));
    for (int i = 0; i < m; ++i) state[p].lo[i] &= kSeedBits;
  }
  for (int i = 0; i < m; ++i) {
    flip[i] = keys.comparison ? alpha[i] >> keys.width & 1 : 0;
    value[i] = 0;
  }
  for (int level = 0; level < levels; ++level) {
    for (int p = 0; p < 2; ++p)
      for (int s = 0; s < 2; ++s) children(state[p], sides[s], child[p][s], m);
    uint64_t* lo = keys.corrections + int64_t(2) * level * keys.n + first;
    uint64_t* hi = lo + keys.n;
    alignas(64) uint64_t cw_lo[kGroup], cw_hi[kGroup];
    for (int i = 0; i < m; ++i) {
      const uint64_t bit = alpha[i] >> (keys.width - 1 - level) & 1, right = mask_of(bit);
      const uint64_t left_lo = child[0][0].lo[i] ^ child[1][0].lo[i];
      const uint64_t right_lo = child[0][1].lo[i] ^ child[1][1].lo[i];
      const uint64_t left_hi = child[0][0].hi[i] ^ child[1][0].hi[i];
      const uint64_t right_hi = child[0][1].hi[i] ^ child[1][1].hi[i];
      const uint64_t lost = chosen(right, left_lo, right_lo);
      const uint64_t kept = chosen(right, right_lo, left_lo);
      const uint64_t v = (lost >> 1 ^ value[i] ^ (bit & comparison) ^ flip[i]) & 1;
      const uint64_t t_left = (left_lo ^ bit ^ 1) & 1, t_right = (right_lo ^ bit) & 1;
      value[i] ^= (kept >> 1 ^ v) & 1;
      cw_lo[i] = (lost & kSeedBits) | t_left | t_right << 1 | v << 2;
      cw_hi[i] = chosen(right, left_hi, right_hi);
      const uint64_t t_kept = chosen(right, t_right, t_left);
      for (int p = 0; p < 2; ++p) {
        const uint64_t own_lo = chosen(right, child[p][1].lo[i], child[p][0].lo[i]);
        const uint64_t own_hi = chosen(right, child[p][1].hi[i], child[p][0].hi[i]);
        const uint64_t t = on[p][i];
        state[p].lo[i] = (own_lo ^ (t & cw_lo[i])) & kSeedBits;
        state[p].hi[i] = own_hi ^ (t & cw_hi[i]);
        on[p][i] = mask_of(own_lo ^ (t & t_kept));
      }
    }
    std::memcpy(lo, cw_lo, n * sizeof(uint64_t));
    std::memcpy(hi, cw_hi, n * sizeof(uint64_t));
  }
  for (int p = 0; p < 2; ++p) children(state[p], sides[2], child[p][0], m);
  uint64_t* lo = keys.corrections + int64_t(2) * levels * keys.n + first;
  uint64_t* hi = lo + keys.n;
  const Blocks &first_leaf = child[0][0], &second_leaf = child[1][0];
  if (!comparison) {
    for (int i = 0; i < n; ++i) {
      const uint64_t upper = mask_of(alpha[i]), sign = on[1][i];
      lo[i] = with_sign(sign, (~upper & 1) - first_leaf.lo[i] + second_leaf.lo[i]);
      hi[i] = with_sign(sign, (upper & 1) - first_leaf.hi[i] + second_leaf.hi[i]);
    }
    return;
  }
  const uint64_t inner = low_bits(std::min(keys.width, leaf_bits(true)));
  for (int i = 0; i < n; ++i) {
    const uint64_t at = alpha[i] & inner, below = (uint64_t(1) << (at & 63)) - 1;
    const uint64_t upper = mask_of(at >> 6), constant = mask_of(value[i] ^ flip[i]);
    lo[i] = first_leaf.lo[i] ^ second_leaf.lo[i] ^ (upper | below) ^ constant;
    hi[i] = first_leaf.hi[i] ^ second_leaf.hi[i] ^ (upper & below) ^ constant;
  }
}

// Starts to read words that are needed soon.
inline void prefetch(const uint64_t* words, int n) {
  for (int i = 0; i < n; i += 8) __builtin_prefetch(words + i);
}

// One level down for the blocks hashed together, from the i-th on.
inline void descend(Blocks& state, uint64_t* on, uint64_t* value, const uint64_t* x,
                    const uint64_t* cw_lo, const uint64_t* cw_hi, int i, int bit) {
  alignas(64) uint64_t side[kAtOnce], lo[kAtOnce], hi[kAtOnce];
  for (int j = 0; j < kAtOnce; ++j) {
    side[j] = x[j] >> bit & 1;
    lo[j] = state.lo[i + j] ^ side[j];
  }
  hash(lo, state.hi + i, lo, hi);
  for (int j = 0; j < kAtOnce; ++j) {
    const uint64_t w = cw_lo[j] & on[j];
    value[j] ^= lo[j] >> 1 ^ w >> 2;
    state.lo[i + j] = (lo[j] ^ w) & kSeedBits;
    state.hi[i + j] = hi[j] ^ (cw_hi[j] & on[j]);
    on[j] = mask_of(lo[j] ^ w >> side[j]);
  }
}

inline void evaluate_group(const FunctionValues& f, int64_t point, int64_t first, int n) {
  const int levels = levels_of(f.width, f.comparison), m = padded(n);
  Blocks state, child;
  alignas(64) uint64_t x[kGroup], side[kGroup], on[kGroup], value[kGroup];
  alignas(64) uint64_t cw_lo[kGroup], cw_hi[kGroup];
  const int64_t place = point * f.n + first;
  load(x, f.x + place, n);
  load(state.lo, f.seed + first, n);
  load(state.hi, f.seed + f.n + first, n);
  fill(on, mask_of(f.party));
  fill(value, 0);
  for (int i = 0; i < m; ++i) state.lo[i] &= kSeedBits;
  const bool whole = n == m;
  for (int level = 0; level < levels; ++level) {
    const int bit = f.width - 1 - level;
    const uint64_t* lo = f.corrections + int64_t(2) * level * f.n + first;
    const uint64_t* hi = lo + f.n;
    prefetch(lo + 2 * f.n, n);
    prefetch(hi + 2 * f.n, n);
    if (!whole) {
      load(cw_lo, lo, n);
      load(cw_hi, hi, n);
      lo = cw_lo, hi = cw_hi;
    }
    for (int i = 0; i < m; i += kAtOnce)
      descend(state, on + i, value + i, x + i, lo + i, hi + i, i, bit);
  }
  fill(side, 2);
  children(state, side, child, m);
  const uint64_t* lo = f.corrections + int64_t(2) * levels * f.n + first;
  const uint64_t* hi = lo + f.n;
  if (!f.comparison) {
    const uint64_t sign = mask_of(f.party);
    for (int i = 0; i < n; ++i) {
      const uint64_t upper = mask_of(x[i]);
      const uint64_t leaf = chosen(upper, child.hi[i], child.lo[i]);
      f.numbers[place + i] = with_sign(sign, leaf + (on[i] & chosen(upper, hi[i], lo[i])));
    }
    return;
  }
  const uint64_t inner = low_bits(std::min(f.width, leaf_bits(true)));
  for (int i = 0; i < n; ++i) {
    const uint64_t at = x[i] & inner;
    const uint64_t leaf_lo = child.lo[i] ^ (on[i] & lo[i]);
    const uint64_t leaf_hi = child.hi[i] ^ (on[i] & hi[i]);
    f.bits[place + i] = (chosen(mask_of(at >> 6), leaf_hi, leaf_lo) >> (at & 63) ^ value[i]) & 1;
  }
}

inline void generate(const FunctionKeys& keys, int64_t first, int64_t last) {
  for (; first < last; first += kGroup)
    generate_group(keys, first, int(std::min<int64_t>(kGroup, last - first)));
}

inline void evaluate(const FunctionValues& f, int64_t first, int64_t last) {
  for (; first < last; first += kGroup)
    for (int64_t p = 0; p < f.points; ++p)
      evaluate_group(f, p, first, int(std::min<int64_t>(kGroup, last - first)));
}

// Blocks hashed in the cache, each the next one's input: how many there were.
inline Work peak(int64_t rounds) {
  alignas(64) uint64_t lo[kAtOnce], hi[kAtOnce];
  for (int i = 0; i < kAtOnce; ++i) lo[i] = rounds + i, hi[i] = i;
  for (int64_t r = 0; r < rounds; ++r) hash(lo, hi, lo, hi);
  uint64_t sink = 0;
  for (int i = 0; i < kAtOnce; ++i) sink += lo[i] ^ hi[i];
  return {rounds * kAtOnce, sink};
}
