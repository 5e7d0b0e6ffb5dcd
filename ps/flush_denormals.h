// Denormals become zero inside a scope, as in every thread that computes: they are slow, and rows
// must get the same bits from a shard in the worker's thread and from one in a server.
//
// Thread-safe (each thread's own control register).
#ifndef PAGODA_PS_FLUSH_DENORMALS_H_
#define PAGODA_PS_FLUSH_DENORMALS_H_

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace pagoda {

class ScopedFlushDenormals {
 public:
#if defined(__SSE2__)
  // Flush-to-zero is bit 15, denormals-are-zero bit 6 (Intel SDM, 10.2.3).
  ScopedFlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040u); }
  ~ScopedFlushDenormals() { _mm_setcsr(before_); }

 private:
  const unsigned before_;
#else
  ScopedFlushDenormals() {}
  ~ScopedFlushDenormals() {}
#endif
};

}  // namespace pagoda

#endif  // PAGODA_PS_FLUSH_DENORMALS_H_
