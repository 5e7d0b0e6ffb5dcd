// Whether the states that one optimizer left behind may be taken up by another.
//
// States lie beside weights without a word on what they are: a rule that reads another one's, or
// its own of another size, would take sums of squares for momenta.
//
// Thread-safe (pure function).
#ifndef PAGODA_COMMON_OPTIM_SAME_STATE_H_
#define PAGODA_COMMON_OPTIM_SAME_STATE_H_

#include "proto/wire.pb.h"

namespace pagoda {

// True for optimizers of one name and rule whose parameters give a weight and a row as much state
// (Adam has a count more with per_row_count, RMSProp an array more with momentum). Parameters that
// change no layout may differ. False where a rule does not exist.
bool HaveSameState(const OptimizerSchema& a, const OptimizerSchema& b);

}  // namespace pagoda

#endif  // PAGODA_COMMON_OPTIM_SAME_STATE_H_
