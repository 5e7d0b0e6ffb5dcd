// What this version knows: `worker --list`.
//
// Thread-safe (pure functions).
#ifndef PAGODA_WORKER_TRAIN_LISTING_H_
#define PAGODA_WORKER_TRAIN_LISTING_H_

#include <string>

namespace pagoda {

// Models, optimizer rules, losses, weightings and formats: a title each, then one line a name, and
// below it one for each parameter that `parameter { name: ... value: ... }` sets.
std::string ListRegistries();

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_LISTING_H_
