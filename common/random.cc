#include "common/random.h"

#include "common/hash.h"

namespace pagoda {

uint64_t StreamKey(uint64_t seed, absl::string_view name) {
  return MixId(HashBytes(name) + MixId(seed + 0x9E3779B97F4A7C15ULL));
}

}  // namespace pagoda
