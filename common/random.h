// Counter-based random numbers: a draw is a pure function of (key, counter), so that no draw
// depends on how many were taken before it, by whom or on which machine.
//
// Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3",
// SC 2011. random-inl.h: of many counters at once, for SIMD kernels.
//
// Thread-safe (pure functions).
#ifndef PAGODA_COMMON_RANDOM_H_
#define PAGODA_COMMON_RANDOM_H_

#include <array>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace pagoda {

// Four independent 32-bit draws for the 128-bit counter (counter_high, counter_low) under `key`.
inline std::array<uint32_t, 4> Philox(uint64_t key, uint64_t counter_high, uint64_t counter_low) {
  uint32_t c0 = static_cast<uint32_t>(counter_low), c1 = static_cast<uint32_t>(counter_low >> 32);
  uint32_t c2 = static_cast<uint32_t>(counter_high), c3 = static_cast<uint32_t>(counter_high >> 32);
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {c0, c1, c2, c3};
}

// [0, 1) in steps of 2^-24: every value is a float, and the float is exact.
inline float ToUnitFloat(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

// The key of a named stream: (seed, "dense/tower0/w"), (seed, "table/user"), (seed, "epoch/3").
uint64_t StreamKey(uint64_t seed, absl::string_view name);

}  // namespace pagoda

#endif  // PAGODA_COMMON_RANDOM_H_
