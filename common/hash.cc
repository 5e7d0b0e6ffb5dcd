#include "common/hash.h"

#if defined(__x86_64__)
// The library's XXH3_64bits is compiled for SSE2; this one takes what the processor has.
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

namespace pagoda {

uint64_t HashBytes(absl::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

}  // namespace pagoda
