// How much of an exponential moving average of weights a step keeps:
//   a_t = d_t a_{t-1} + (1 - d_t) w_t,   d_t = min(decay, (1 + t) / (10 + t)),   a_0 = w_0
// as tf.train.ExponentialMovingAverage(decay, num_updates = t): d_t rises from 2/11, so that what
// the weights began as does not weigh on a short run, where a plain decay of 0.999 would still hold
// 0.37 of it after 1000 steps. (Averaged iterates: Polyak, Juditsky, "Acceleration of stochastic
// approximation by averaging", SIAM J. Control Optim. 1992.)
//
// Thread-safe (a pure function, and a name).
#ifndef PAGODA_COMMON_OPTIM_EMA_H_
#define PAGODA_COMMON_OPTIM_EMA_H_

#include <algorithm>
#include <cstdint>

namespace pagoda {

// A parameter's average among the dense tensors of a checkpoint: NAME.ema.
inline constexpr char kAverageSuffix[] = ".ema";

// d_t of an optimizer's step t, from 1.
inline double AverageDecay(double decay, int64_t t) {
  const double steps = static_cast<double>(t);
  return std::min(decay, (1 + steps) / (10 + steps));
}

}  // namespace pagoda

#endif  // PAGODA_COMMON_OPTIM_EMA_H_
