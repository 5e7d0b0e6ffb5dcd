// How messages reach a shard: a Channel on the client's side, a Handler on the shard's.
//
// A shard is a state machine: it is handed one request at a time and puts any number of replies into
// an outbox, now or at a later request (a pull waits for the last worker's push). That lets the same
// shard stand behind a ZeroMQ ROUTER, be called in the worker's own thread, or run in a simulation.
#ifndef PAGODA_COMMON_NET_TRANSPORT_H_
#define PAGODA_COMMON_NET_TRANSPORT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/net/frames.h"

namespace pagoda {

// Whom a reply goes to: the transport's own name for a connection.
using PeerId = std::string;

struct Outgoing {
  PeerId to;
  Message message;
};
using Outbox = std::vector<Outgoing>;

// The shard's side. **Confined to the thread that serves it.**
class Handler {
 public:
  virtual ~Handler() = default;
  virtual void Handle(const PeerId& from, Message request, Outbox& outbox) = 0;
  // Called at least every 200 ms while requests wait (sends `waiting`, gives up on the missing).
  virtual void Tick(int64_t now_ms, Outbox& outbox) = 0;
  // A frame that did not decode was dropped.
  virtual void CountRefused() = 0;
  // True once a SHUTDOWN was handled that ends this handler's service.
  virtual bool Done() const = 0;
};

// The client's side of one connection to one shard. **Confined to one thread.**
class Channel {
 public:
  virtual ~Channel() = default;
  virtual absl::Status Send(const Message& message) = 0;
  // The next message that arrived, waiting up to timeout_ms (0: only looks); kDeadlineExceeded when none came.
  virtual absl::StatusOr<Message> Receive(int64_t timeout_ms) = 0;
  // For error messages: "tcp://10.0.0.2:7000", "shard 3 in this process".
  virtual const std::string& peer() const = 0;
};

// Calls the handler in the caller's thread. The handler must outlive the channel.
std::unique_ptr<Channel> OpenInProcessChannel(Handler* handler, std::string peer);

// ZeroMQ DEALER. Connecting never blocks and never fails for a peer that is not there yet: only a reply proves a peer.
absl::StatusOr<std::unique_ptr<Channel>> OpenZmqChannel(const std::string& endpoint);

// ZeroMQ ROUTER.
class Server {
 public:
  virtual ~Server() = default;
  // Where clients connect: the wildcard port and host resolved.
  virtual const std::string& endpoint() const = 0;
  // Serves until the handler is Done or Stop() is called (from any thread).
  virtual absl::Status Serve(Handler& handler) = 0;
  virtual void Stop() = 0;
};
// endpoint: "tcp://0.0.0.0:7000", "tcp://*:0", "ipc:///tmp/x". IoError names a port that is taken.
// advertise_host: what replaces a wildcard host in endpoint(); empty: this machine's name.
absl::StatusOr<std::unique_ptr<Server>> BindZmqServer(const std::string& endpoint,
                                                      const std::string& advertise_host);

}  // namespace pagoda

#endif  // PAGODA_COMMON_NET_TRANSPORT_H_
