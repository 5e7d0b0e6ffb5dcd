// A machine's fp32 matrix peak: fused multiply-adds on registers alone, which no memory slows.
//
// Thread-safe (functions).
#ifndef PAGODA_TESTS_BENCH_PEAK_H_
#define PAGODA_TESTS_BENCH_PEAK_H_

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

#include "glog/logging.h"

namespace pagoda {

// 16 independent chains of multiply-adds: more than latency (4 cycles) x units (2). They are named
// one by one, because an array of vectors would live in memory. The result keeps them alive.
#if defined(__x86_64__)
#define PAGODA_CHAINS(X) \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define PAGODA_DECLARE(i) Vector c##i = Vector{} + static_cast<float>(i);
#define PAGODA_STEP(i) asm volatile("vfmadd213ps %2, %1, %0" : "+v"(c##i) : "v"(a), "v"(b));
#define PAGODA_FMA_LOOP                                     \
  const Vector a = Vector{} + 0.999f, b = Vector{} + 1e-3f; \
  PAGODA_CHAINS(PAGODA_DECLARE)                             \
  for (int64_t r = 0; r < rounds; ++r) {                    \
    PAGODA_CHAINS(PAGODA_STEP)                              \
  }                                                         \
  return 2.0 * 16 * (sizeof(Vector) / sizeof(float)) * rounds;

__attribute__((target("avx512f"))) inline double FmaLoop512(int64_t rounds) {
  typedef float Vector __attribute__((vector_size(64)));
  PAGODA_FMA_LOOP
}
__attribute__((target("avx2,fma"))) inline double FmaLoop256(int64_t rounds) {
  typedef float Vector __attribute__((vector_size(32)));
  PAGODA_FMA_LOOP
}
inline double FmaLoop(int64_t rounds) {
  return __builtin_cpu_supports("avx512f") ? FmaLoop512(rounds) : FmaLoop256(rounds);
}
#undef PAGODA_FMA_LOOP
#undef PAGODA_STEP
#undef PAGODA_DECLARE
#undef PAGODA_CHAINS
#else
inline double FmaLoop(int64_t) {
  LOG(FATAL) << "the peak of this processor cannot be measured yet";
}
#endif

// FLOP/s of `threads` threads together; the best of ten tenths of a second by the clock `now`.
inline double MeasurePeak(int threads, double (*now)()) {
  double best = 0;
  for (int trial = 0; trial < 10; ++trial) {
    std::vector<double> rates(threads);
    std::vector<std::thread> pool;
    for (int t = 0; t < threads; ++t) {
      pool.emplace_back([&rates, now, t] {
        const double start = now();
        double flops = 0;
        while (now() - start < 0.1) flops += FmaLoop(100'000);
        rates[t] = flops / (now() - start);
      });
    }
    for (std::thread& thread : pool) thread.join();
    double sum = 0;
    for (const double rate : rates) sum += rate;
    best = std::max(best, sum);
  }
  return best;
}

}  // namespace pagoda

#endif  // PAGODA_TESTS_BENCH_PEAK_H_
