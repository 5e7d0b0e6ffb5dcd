// Requests to one shard with sequence numbers, deadlines and retries.
//
// zmq_send returning OK proves nothing: a request is done when its reply came. Until then it is
// sent again with the same sequence number (the shard applies a sequence once and answers a
// repeated one from its memory), and it fails at its deadline with an error that names the peer, or
// the workers for whom the peer is waiting.
//
// **Confined to one thread.**
#ifndef PAGODA_COMMON_NET_CLIENT_H_
#define PAGODA_COMMON_NET_CLIENT_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/net/transport.h"

namespace pagoda {

struct ClientOptions {
  uint64_t job_id = 0;
  uint64_t run_epoch = 0;
  uint32_t client_id = 0;
  int64_t resend_after_ms = 2'000;  // Without any sign of life about the request.
  // A request's deadline, counted from when it is first awaited (nobody listens before that);
  // `waiting` renews it, up to wait_limit_ms.
  int64_t peer_timeout_ms = 30'000;
  int64_t wait_limit_ms = 120'000;  // How long a live peer may go on saying `waiting`.
};

class ShardClient {
 public:
  ShardClient(std::unique_ptr<Channel> channel, const ClientOptions& options, Clock* clock);

  // Sends a request (header: kind, step, segments, body filled in by the caller; job, epoch, client
  // and sequence by this class) and returns its sequence number.
  // REQUIRES: fewer than kMaxInFlight requests were started and not awaited. The request's buffers
  // are held until its reply came.
  absl::StatusOr<uint64_t> Start(Message request);

  // The reply to it. An ERROR reply becomes its Status; context names the peer. A failed request is
  // forgotten. Requests may be awaited in any order, each once.
  absl::StatusOr<Message> Await(uint64_t sequence);

  // Start and Await.
  absl::StatusOr<Message> Call(Message request);

  const std::string& peer() const { return channel_->peer(); }

  static constexpr int kMaxInFlight = 8;

 private:
  struct Pending {
    uint64_t sequence = 0;
    Message request;
    int64_t last_ms = 0;      // When it was last sent, or the peer last spoke of it.
    int64_t awaited_ms = -1;  // When Await began; -1: not yet.
    int64_t deadline_ms = 0;  // Once awaited.
    int64_t waiting_ms = -1;  // When the peer last said `waiting`; -1: it has not.
    Waiting waiting;          // For whom.
    bool has_warned = false;
    bool has_reply = false;
    Message reply;
  };

  Pending* Find(uint64_t sequence);
  // Sends it; a full queue is no failure, the next resend tries again.
  absl::Status Transmit(Pending& pending);
  // Resends, warns or gives up where it is time; the deadline counts for the awaited one.
  absl::Status CheckTime(Pending& awaited);
  // How long to listen before CheckTime has something to do, ms.
  int64_t ListenMs(const Pending& awaited) const;
  // Takes in all messages that are there, waiting up to timeout_ms for the first.
  absl::Status Listen(int64_t timeout_ms);
  void TakeIn(Message message);
  absl::Status DeadlineError(const Pending& pending) const;
  // "push of step 17, pull of step 18, shard tcp://host:7000".
  std::string Describe(const Message& request) const;

  const std::unique_ptr<Channel> channel_;
  const ClientOptions options_;
  Clock* const clock_;
  uint64_t next_sequence_ = 1;
  std::deque<Pending> pending_;  // In order of sequence; at most kMaxInFlight.
};

}  // namespace pagoda

#endif  // PAGODA_COMMON_NET_CLIENT_H_
