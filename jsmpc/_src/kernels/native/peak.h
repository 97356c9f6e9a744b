// How fast the arithmetic of the kernels is where all lies in registers.
#pragma once

#define EXPORT extern "C" __attribute__((visibility("default")))

// 10^9 operations a second of sums of products of uint64_t, where a multiply and
// an add are two, and 10^9 bytes a second of ChaCha20 blocks: of so many threads
// that run for so many seconds. And 10^9 hashes a second of blocks by AES.
EXPORT double jsmpc_peak_gops(int threads, double seconds);
EXPORT double jsmpc_peak_keystream(int threads, double seconds);
EXPORT double jsmpc_peak_hashes(int threads, double seconds);

#undef EXPORT
