// Tags of this room's own messages; those below 1000 belong to callers.
#ifndef PAGODA_COMMON_GROUP_TAGS_H_
#define PAGODA_COMMON_GROUP_TAGS_H_

namespace pagoda {

inline constexpr int kLengthTag = 1000;  // AllGather, Gather, Broadcast: a text's length ...
inline constexpr int kTextTag = 1001;    // ... and its bytes.
inline constexpr int kBarrierTag = 1002;
inline constexpr int kReduceTag = 1003;  // AllReduceTree: parts to whom adds them ...
inline constexpr int kShareTag = 1004;   // ... and their sums back.
inline constexpr int kEndTag = 1024;     // Tags are below this.

}  // namespace pagoda

#endif  // PAGODA_COMMON_GROUP_TAGS_H_
