// Where a plan's buffers lie in the arena. Inside worker/graph only.
//
// Thread-safe (functions).
#ifndef PAGODA_WORKER_GRAPH_ARENA_H_
#define PAGODA_WORKER_GRAPH_ARENA_H_

#include <cstdint>

#include "worker/graph/plan.h"

namespace pagoda {

inline constexpr int kLineFloats = 16;  // 64 bytes: a cache line and an AVX-512 register.

inline int64_t RoundUp(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Finds each buffer's life in the plan's operations and gives it columns of the arena that no other
// buffer has meanwhile: sets the buffers' first_op, last_op and offset, and arena_floats_per_row.
void PlaceArena(Plan* plan);

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_ARENA_H_
