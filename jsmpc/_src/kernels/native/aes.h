// AES-128 (FIPS 197) under one fixed public key: the round keys of
// 243f6a8885a308d313198a2e03707344, the first digits of pi, the low half first.
#pragma once

#include <cstdint>

namespace jsmpc {

constexpr int kAesRounds = 10;
constexpr uint64_t kRoundKeys[kAesRounds + 1][2] = {
    {0xd308a385886a3f24, 0x447370032e8a1913}, {0x207913f1f371b074, 0x4a807ae10ef30ae2},
    {0x2bde6e5d0ba77dac, 0x6fad1e5e252d64bf}, {0x78d18687530fe8da, 0x3251fc665dfce238},
    {0x18fdbfe5602c3962, 0x7750a1bb45015ddd}, {0x9224d5a58ad96a40, 0xa07529c3d7258878},
    {0x361d2260a439f7c5, 0x414d83dbe138aa18}, {0x2ba736091dba1469, 0x8bd21fcaca9f9c11},
    {0x422097206987a129, 0x036d14fb88bf0b31}, {0x24dc0ae866fc9dc8, 0xaf0e1522ac6301d9},
    {0xd1593c4ff58536a7, 0xd23428b47d3a3d96}};

}  // namespace jsmpc
