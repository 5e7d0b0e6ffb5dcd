// Requests to one shard with sequence numbers, deadlines and retries.
//
// zmq_send returning OK proves nothing: a request is done when its reply came. Until then it is sent
// again with the same sequence number (the shard applies a sequence once and answers a repeated one
// from its memory), and it fails at its deadline with an error that names the peer, or the workers for
// whom the peer is waiting.
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
  int64_t resend_after_ms = 2'000;   // Without any sign of life.
  int64_t peer_timeout_ms = 30'000;  // A request's deadline; `waiting` renews it, up to wait_limit_ms.
  int64_t wait_limit_ms = 120'000;   // How long a live peer may go on saying `waiting`.
};

class ShardClient {
 public:
  ShardClient(std::unique_ptr<Channel> channel, const ClientOptions& options, Clock* clock);

  // Sends a request (header: kind, step, segments, body filled in by the caller; job, epoch, client and
  // sequence by this class) and returns its sequence number. At most kMaxInFlight wait for a reply.
  absl::StatusOr<uint64_t> Start(Message request);

  // The reply to it. An ERROR reply becomes its Status; context names the peer.
  // Requests may be awaited in any order, each once.
  absl::StatusOr<Message> Await(uint64_t sequence);

  // Start and Await.
  absl::StatusOr<Message> Call(Message request);

  const std::string& peer() const { return channel_->peer(); }

  static constexpr int kMaxInFlight = 8;

 private:
  struct Pending {
    uint64_t sequence;
    Message request;
    int64_t sent_ms;       // Last time.
    int64_t started_ms;
    int64_t deadline_ms;
    std::string waiting_for;  // From the last `waiting`; empty: none came.
    bool warned = false;
    bool replied = false;
    Message reply;
  };

  // Takes in one message, or waits up to timeout_ms for it.
  absl::Status Pump(int64_t timeout_ms);

  std::unique_ptr<Channel> channel_;
  const ClientOptions options_;
  Clock* const clock_;
  uint64_t next_sequence_ = 1;
  std::deque<Pending> pending_;  // In order of sequence.
};

}  // namespace pagoda

#endif  // PAGODA_COMMON_NET_CLIENT_H_
