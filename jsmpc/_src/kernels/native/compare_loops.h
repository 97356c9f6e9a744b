// Included once in the namespace of each instruction set.

constexpr uint8_t kModulus = 67;
constexpr int kMostBits = 64;

// Of what is below twice the modulus; what is negative wraps, and is not smaller.
inline uint8_t reduced(uint8_t x) {
  const uint8_t less = uint8_t(x - kModulus);
  return x < less ? x : less;
}

inline uint8_t chosen(uint8_t bit, uint8_t x, uint8_t y) {
  return y ^ ((x ^ y) & uint8_t(-bit));
}

// Elements at..at + count of all rows, count <= kStrip.
template <class T>
inline void compare_strip(const Compare& c, int64_t at, int count) {
  constexpr int kBits = 8 * sizeof(T);
  alignas(64) uint8_t rows[kBits][kStrip], row[kStrip], octet[kStrip];
  alignas(64) uint8_t how[kStrip] = {}, place[kStrip] = {}, above[kStrip] = {};
  alignas(64) T v[kStrip] = {};
  std::memcpy(how, c.how + at, count);
  std::memcpy(place, c.place + at, count);
  std::memcpy(v, static_cast<const T*>(c.v) + at, count * sizeof(T));
  const uint8_t one = c.first;

  for (int i = 0; i < kBits; ++i) {
    std::memset(row, 0, kStrip);
    std::memcpy(row, c.x + i * c.elements + at, count);
    if (i % 8 == 0)
      for (int e = 0; e < kStrip; ++e) octet[e] = uint8_t(v[e] >> (kBits - 8 - i));
    const uint8_t place_of_bit = uint8_t(128 >> i % 8);
    for (int e = 0; e < kStrip; ++e) {
      const uint8_t bit = octet[e] & place_of_bit ? 1 : 0, down = how[e] & 1;
      const uint8_t x = row[e] & uint8_t((how[e] >> 1) - 1);
      const uint8_t flipped = uint8_t(kModulus - x);
      const uint8_t upwards = one & bit, differs = chosen(bit, reduced(one + flipped), x);
      const uint8_t constant = one + chosen(down, uint8_t(-upwards), upwards);
      const uint8_t own = reduced(uint8_t(chosen(down, x, flipped) + constant));
      const uint8_t sum = reduced(uint8_t(own + above[e]));
      rows[i][e] = c.first ? sum : uint8_t(kModulus - sum);
      above[e] = reduced(uint8_t(above[e] + differs));
    }
  }
  for (int span = 1; span < kBits; span *= 2)
    for (int i = 0; i < kBits; ++i)
      if (!(i & span))
        for (int e = 0; e < kStrip; ++e) {
          const uint8_t moves = place[e] & span ? 255 : 0;
          const uint8_t swapped = (rows[i][e] ^ rows[i + span][e]) & moves;
          rows[i][e] ^= swapped;
          rows[i + span][e] ^= swapped;
        }
  for (int i = 0; i < kBits; ++i) {
    alignas(64) uint8_t mask[kStrip] = {};
    std::memcpy(row, c.factor + i * c.elements + at, count);
    std::memcpy(mask, c.mask + i * c.elements + at, count);
    for (int e = 0; e < kStrip; ++e) {
      const uint16_t product = uint16_t(rows[i][e] * (row[e] + 1));
      row[e] = reduced(uint8_t(product % kModulus + mask[e]));
    }
    std::memcpy(c.out + i * c.elements + at, row, count);
  }
}

inline void compare(const Compare& c, int64_t at, int count) {
  c.bits == kMostBits ? compare_strip<uint64_t>(c, at, count)
                      : compare_strip<uint32_t>(c, at, count);
}
