// Messages between processes of one host, through memory that they share: no socket, no thread.
//
// A server makes a segment of slots. A slot serves one client at a time and holds two rings of
// bytes, requests and replies, each with one writer and one reader. A message is its frames'
// sizes and their bytes; one that is larger than a ring passes through it in pieces. What the other
// side wrote is not trusted: sizes are checked before memory is taken, and a counter that makes no
// sense ends the connection.
//
// Whoever finds nothing to do says so in the segment and sleeps: a client on a futex, the server on
// a pipe, since it waits for sockets, too. Private to this room.
//
// **Confined to one thread** (each side).
#ifndef PAGODA_COMMON_NET_RING_H_
#define PAGODA_COMMON_NET_RING_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/io/shared_memory.h"
#include "common/net/frames.h"
#include "common/net/transport.h"

namespace pagoda {

inline constexpr int kRingSlots = 256;
inline constexpr size_t kRingBytes = size_t{64} << 10;  // Of one direction; a power of two.

// Counters of all bytes ever written and read.
struct Ring {
  alignas(64) std::atomic<uint64_t> written;
  alignas(64) std::atomic<uint64_t> read;
  alignas(64) std::byte bytes[kRingBytes];
};

struct RingSlot {
  enum State : uint32_t { kFree = 0, kOpen = 1, kClosed = 2 };  // Closed: its server frees it.
  alignas(64) std::atomic<uint32_t> state;
  std::atomic<uint32_t> client_sleeps;
  std::atomic<uint32_t> client_wants_space;
  std::atomic<uint32_t> server_wants_space;
  alignas(64) std::atomic<uint32_t> bell;  // Of the client: changed when there is news.
  Ring requests;
  Ring replies;
};

struct RingSegment {
  alignas(64) std::atomic<uint32_t> server_sleeps;
  std::atomic<uint32_t> used;  // Slots [0, used) have had clients.
  RingSlot slots[kRingSlots];
};

// Messages into one ring.
class RingWriter {
 public:
  explicit RingWriter(Ring* ring) : ring_(ring) {}
  // False: too many wait already.
  bool Push(Frames frames);
  // Writes what there is space for; true when anything was written.
  bool Pump();
  bool has_unsent() const { return !unsent_.empty(); }
  void Clear();

 private:
  struct Unsent {
    std::array<uint64_t, 3> sizes;
    Frames frames;
  };
  size_t Write(const std::byte* bytes, size_t size);

  Ring* const ring_;
  std::deque<Unsent> unsent_;
  int part_ = 0;       // Of the first message: 0 its sizes, 1-3 a frame,
  size_t offset_ = 0;  // of which so many bytes were written.
};

// Messages out of one ring.
class RingReader {
 public:
  explicit RingReader(Ring* ring) : ring_(ring) {}
  // The next message when all of it has come, else kDeadlineExceeded. DataError: the writer is
  // broken, and nothing more is read.
  absl::StatusOr<Frames> Next();
  // Bytes were taken out since the last call.
  bool TakeProgress() { return std::exchange(progress_, false); }
  bool IsEmpty() const {
    return ring_->written.load() == ring_->read.load(std::memory_order_relaxed);
  }
  void Clear();

 private:
  // Copies up to `size` bytes out; how many. DataError when the counters make no sense.
  absl::StatusOr<size_t> Read(std::byte* to, size_t size);
  absl::Status Begin();

  Ring* const ring_;
  bool progress_ = false;
  bool is_broken_ = false;
  std::array<uint64_t, 3> sizes_;
  int part_ = 0;
  size_t offset_ = 0;
  std::array<std::byte*, 3> places_;
  std::shared_ptr<uint64_t[]> block_;
};

// The server's end. Its thread asks it for messages, sends replies, and before it sleeps asks
// whether it may.
class RingServer {
 public:
  static absl::StatusOr<std::unique_ptr<RingServer>> Open();
  ~RingServer();
  // For OpenRingChannel: "PID/FD/WORD/FD".
  const std::string& name() const { return name_; }
  int fd() const { return pipe_[0]; }  // Readable when someone rang.

  // The next message of any client; kDeadlineExceeded: none. DataError: a client's stream is broken
  // and it is heard no more.
  absl::StatusOr<Frames> Receive(PeerId* from);
  // kUnavailable: that client is gone, or takes nothing in.
  absl::Status Send(const PeerId& to, Frames frames);
  // Whether it is one of ours. Those that ZeroMQ gives have five bytes; a client at the socket that
  // chose such a name itself is not heard.
  static bool IsPeer(const PeerId& peer) { return peer.size() == 9 && peer[0] == '\0'; }
  // False: there is something to do. Else clients will ring until AfterSleep.
  bool BeforeSleep();
  void AfterSleep();
  // Sends what waits; true: some of it had no space.
  bool HasUnsent();

 private:
  struct Client {
    explicit Client(RingSlot* slot) : reader(&slot->requests), writer(&slot->replies) {}
    RingReader reader;
    RingWriter writer;
    uint32_t generation = 0;
    bool is_refused = false;
  };
  RingServer(std::unique_ptr<SharedMemory> memory, std::array<int, 2> pipe);
  RingSlot& slot(size_t i) { return segment_->slots[i]; }
  // Takes in new clients, frees the slots of those that left, sends what waits.
  void Look();
  void Free(size_t i);
  void Pump(size_t i);
  void Wake(size_t i);
  bool IsHeard(size_t i);
  absl::StatusOr<Frames> ReceiveFrom(size_t i);

  const std::unique_ptr<SharedMemory> memory_;
  RingSegment* const segment_;
  const std::array<int, 2> pipe_;
  const std::string name_;
  std::vector<std::unique_ptr<Client>> clients_;  // By slot.
  size_t next_ = 0;                               // Whose turn it is; 0: a round begins.
  bool has_received_ = false;                     // In this round.
};

// IoError: not on this host, or all slots are taken.
absl::StatusOr<std::unique_ptr<Channel>> OpenRingChannel(absl::string_view name, std::string peer);

}  // namespace pagoda

#endif  // PAGODA_COMMON_NET_RING_H_
