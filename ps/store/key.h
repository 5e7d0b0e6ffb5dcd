// A row's key in the store and in row files: table u16 | partition u16 | id u64, big-endian, so
// that bytes sort as (table, partition, id) does.
//
// Thread-safe (values).
#ifndef PAGODA_PS_STORE_KEY_H_
#define PAGODA_PS_STORE_KEY_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "common/hash.h"

namespace pagoda {

class RowKey {
 public:
  static constexpr size_t kBytes = 12;

  RowKey(int table, int partition, uint64_t id) {
    Put(0, 2, static_cast<uint64_t>(table));
    Put(2, 2, static_cast<uint64_t>(partition));
    Put(4, 8, id);
  }
  static RowKey Of(int table, uint64_t id) { return RowKey(table, PartitionOf(id), id); }
  // REQUIRES: kBytes bytes.
  static RowKey Parse(const char* bytes) {
    RowKey key(0, 0, 0);
    for (size_t i = 0; i < kBytes; ++i) key.bytes_[i] = bytes[i];
    return key;
  }

  int table() const { return static_cast<int>(Take(0, 2)); }
  int partition() const { return static_cast<int>(Take(2, 2)); }
  uint64_t id() const { return Take(4, 8); }
  const char* data() const { return bytes_.data(); }

 private:
  void Put(size_t at, size_t bytes, uint64_t value) {
    for (size_t i = 0; i < bytes; ++i) {
      bytes_[at + i] = static_cast<char>(value >> (8 * (bytes - 1 - i)));
    }
  }
  uint64_t Take(size_t at, size_t bytes) const {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; ++i) value = value << 8 | static_cast<uint8_t>(bytes_[at + i]);
    return value;
  }
  std::array<char, kBytes> bytes_;
};

}  // namespace pagoda

#endif  // PAGODA_PS_STORE_KEY_H_
