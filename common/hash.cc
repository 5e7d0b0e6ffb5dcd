#include "common/hash.h"

#include <xxhash.h>

namespace pagoda {

uint64_t HashBytes(absl::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

}  // namespace pagoda
