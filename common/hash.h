// Ids: mixing, partitions, the order in which everything walks them, and salts of shared tables.
//
// One order serves the whole system. MixId is a bijection on u64; a table's partition is the top
// ten bits of the mixed id, its hash table is addressed by the bits below them, and every list of
// ids on the wire is sorted by MixId(id). So a sorted list visits partitions, shards and memory in
// ascending order, and merging the lists of several workers is a linear pass.
//
// Thread-safe (pure functions).
#ifndef PAGODA_COMMON_HASH_H_
#define PAGODA_COMMON_HASH_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace pagoda {

inline constexpr int kPartitionBits = 10;
inline constexpr int kPartitions = 1 << kPartitionBits;  // P of the design: fixed for ever.

// MurmurHash3's 64-bit finalizer (Appleby, public domain): a bijection with full avalanche.
inline uint64_t MixId(uint64_t id) {
  id ^= id >> 33;
  id *= 0xff51afd7ed558ccdULL;
  id ^= id >> 33;
  id *= 0xc4ceb9fe1a85ec53ULL;
  id ^= id >> 33;
  return id;
}

// Its inverse: the multipliers are the inverses modulo 2^64.
inline uint64_t UnmixId(uint64_t mixed) {
  mixed ^= mixed >> 33;
  mixed *= 0x9cb4b2f8129337dbULL;
  mixed ^= mixed >> 33;
  mixed *= 0x4f74430c22a54005ULL;
  mixed ^= mixed >> 33;
  return mixed;
}

inline int PartitionOfMixed(uint64_t mixed) {
  return static_cast<int>(mixed >> (64 - kPartitionBits));
}
inline int PartitionOf(uint64_t id) { return PartitionOfMixed(MixId(id)); }

// Shard i of n owns partitions [FirstPartition(i, n), FirstPartition(i + 1, n)).
inline int FirstPartition(int shard, int shard_count) { return shard * kPartitions / shard_count; }
inline int ShardOfPartition(int partition, int shard_count) {
  return ((partition + 1) * shard_count - 1) / kPartitions;
}

// XXH3-64, seed 0.
uint64_t HashBytes(absl::string_view bytes);

// A feature's slot stands in the top 16 bits of its ids in a shared table (design.md, section 6:
// dumps must show raw values, so the salt has to be reversible and the feature recognisable).
// Slot 0: a table of its own, full 64-bit ids. Values of salted features are below 2^48.
inline constexpr int kSaltShift = 48;
inline constexpr uint64_t kSaltedIdMask = (uint64_t{1} << kSaltShift) - 1;
inline uint64_t SaltId(uint32_t slot, uint64_t value) {
  return static_cast<uint64_t>(slot) << kSaltShift ^ value;
}
inline uint32_t SlotOfSalted(uint64_t id) { return static_cast<uint32_t>(id >> kSaltShift); }
inline uint64_t ValueOfSalted(uint64_t id) { return id & kSaltedIdMask; }

}  // namespace pagoda

#endif  // PAGODA_COMMON_HASH_H_
