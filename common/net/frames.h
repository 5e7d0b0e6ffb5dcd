// A message: header, ids, values (grammar: proto/wire.proto), and its encoding to and from bytes.
//
// Buffers are shared, not copied: what a transport received is what the shard reads, and what the
// table wrote is what the socket sends.
//
// Thread-safe (values; a Buffer's bytes are never written while anyone else holds its owner).
#ifndef PAGODA_COMMON_NET_FRAMES_H_
#define PAGODA_COMMON_NET_FRAMES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/wire.pb.h"

namespace pagoda {

inline constexpr uint32_t kProtocolVersion = 5;
// Of one frame; a peer cannot make us allocate more.
inline constexpr size_t kMaxFrameBytes = size_t{256} << 20;
// Of a header frame. Parsed Protobuf can be some 40 times its bytes (an empty repeated message
// takes 2 bytes on the wire and up to 80 in memory), so this keeps a parsed header below
// kMaxFrameBytes. A schema or a checkpoint's file list takes about 100 bytes an entry: room for
// 40,000 of them.
inline constexpr size_t kMaxHeaderBytes = size_t{4} << 20;
// client_id of those who are not workers.
inline constexpr uint32_t kCoordinatorClient = 0xFFFFFFFF;
inline constexpr uint32_t kControlClient = 0xFFFFFFFE;

// Bytes with shared ownership. The bytes of a decoded message are aligned to 8. A sender that wants
// to use a block again may do so once its owner's use_count() says that no transport holds it.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const void* data, size_t size, std::shared_ptr<const void> owner)
      : data_(static_cast<const std::byte*>(data)), size_(size), owner_(std::move(owner)) {}
  template <typename T>
  static Buffer Of(std::vector<T> items) {
    auto owner = std::make_shared<const std::vector<T>>(std::move(items));
    return Buffer(owner->data(), owner->size() * sizeof(T), owner);
  }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const std::shared_ptr<const void>& owner() const { return owner_; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::shared_ptr<const void> owner_;
};

struct Message {
  WireHeader header;
  Buffer ids;     // u64; of the segments, on a STEP of those that it announces.
  Buffer values;  // f32 unless the header's `encoding` says otherwise.
};

// The three frames as they travel.
struct Frames {
  Buffer header;
  Buffer ids;
  Buffer values;
};

// Fills in protocol_version and the checksums.
Frames Encode(Message message);

// UsageError when a frame is larger than a peer would take.
absl::Status CheckFrameSizes(const Frames& frames);

// Checks sizes, checksums and the protocol version before anything else; every failure is a Status
// (DataError, or UsageError for another protocol version, naming both). Segments' counts must add
// up to the ids frame where there is one. A copy is made only of frames that are not aligned.
absl::StatusOr<Message> Decode(const Frames& frames);

inline absl::Span<const uint64_t> Ids(const Buffer& ids) {
  return {reinterpret_cast<const uint64_t*>(ids.data()), ids.size() / 8};
}
inline absl::Span<const uint64_t> Ids(const Message& message) { return Ids(message.ids); }
// REQUIRES: encoding F64.
inline absl::Span<const double> Doubles(const Message& message) {
  return {reinterpret_cast<const double*>(message.values.data()), message.values.size() / 8};
}
inline absl::Span<const float> Values(const Message& message) {
  return {reinterpret_cast<const float*>(message.values.data()), message.values.size() / 4};
}

}  // namespace pagoda

#endif  // PAGODA_COMMON_NET_FRAMES_H_
