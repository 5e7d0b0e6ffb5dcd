#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/errors.h"
#include "common/net/endpoint.h"
#include "common/net/ring.h"
#include "common/net/zmq_socket.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

constexpr int64_t kTickEveryMs = 200;
// For the reply to SHUTDOWN; a client that is gone cannot hold us longer.
constexpr int kLingerMs = 1'000;

class ZmqServer : public Server {
 public:
  ZmqServer(std::shared_ptr<ZmqContext> context, zmq::socket_t socket, std::string endpoint,
            int stop_fd)
      : context_(std::move(context)),
        socket_(std::move(socket)),
        endpoint_(std::move(endpoint)),
        stop_fd_(stop_fd) {}
  ~ZmqServer() override { close(stop_fd_); }

  const std::string& endpoint() const override { return endpoint_; }

  absl::StatusOr<std::string> ListenLocally() override {
    // Unique: a process has one boot, number and address of this object.
    const std::string name =
        absl::StrCat("pagoda-", getpid(), "-", absl::Hex(std::random_device()()), "-",
                     absl::Hex(reinterpret_cast<uintptr_t>(this)));
    const std::string ipc = absl::StrCat("ipc://@", name);
    try {
      socket_.bind(ipc);
      socket_.bind(absl::StrCat("inproc://", name));
    } catch (const zmq::error_t& error) {
      return IoError(absl::StrCat("listen ", ipc, ": ", error.what()));
    }
    in_process_ = absl::StrCat("inproc://", name);
    absl::StatusOr<std::unique_ptr<RingServer>> rings = RingServer::Open();
    if (!rings.ok()) {
      LOG(WARNING) << endpoint_ << ": no shared memory: " << rings.status().message();
      return ipc;
    }
    rings_ = *std::move(rings);
    return absl::StrCat(kRingScheme, rings_->name(), kRingElse, ipc);
  }

  absl::StatusOr<std::unique_ptr<Channel>> Connect() override {
    CHECK(!in_process_.empty()) << endpoint_ << " does not listen locally";
    const std::string peer = absl::StrCat(endpoint_, " in this process");
    if (rings_ != nullptr) {
      absl::StatusOr<std::unique_ptr<Channel>> ring = OpenRingChannel(rings_->name(), peer);
      if (ring.ok()) return ring;
    }
    return ConnectDealer(context_, in_process_, peer);
  }

  absl::Status Serve(Handler& handler) override {
    next_tick_ms_ = Clock::Steady()->NowMs() + kTickEveryMs;
    while (!handler.Done() && !IsStopped()) {
      RETURN_IF_ERROR(Drain(handler));
      if (handler.Done()) break;
      handler.Idle(outbox_);
      RETURN_IF_ERROR(SendReplies());
      const int64_t sleep_ms = std::max<int64_t>(next_tick_ms_ - Clock::Steady()->NowMs(), 0);
      if (rings_ == nullptr) {
        RETURN_IF_ERROR(WaitReadable(socket_, {stop_fd_}, sleep_ms).status());
      } else if (rings_->BeforeSleep()) {
        RETURN_IF_ERROR(WaitReadable(socket_, {stop_fd_, rings_->fd()}, sleep_ms).status());
        rings_->AfterSleep();
      }
      RETURN_IF_ERROR(TickIfDue(handler));
    }
    Linger();
    return absl::OkStatus();
  }

  void Stop() override { eventfd_write(stop_fd_, 1); }

 private:
  // ZeroMQ does so by itself.
  void Linger() {
    if (rings_ == nullptr) return;
    const Deadline deadline = Deadline::After(*Clock::Steady(), kLingerMs);
    while (rings_->HasUnsent() && !deadline.Passed(*Clock::Steady())) Clock::Steady()->SleepMs(1);
  }

  // The counter stays set: a server that was stopped before it served serves nothing.
  bool IsStopped() const {
    eventfd_t count = 0;
    if (eventfd_read(stop_fd_, &count) != 0) return false;
    eventfd_write(stop_fd_, count);
    return true;
  }

  // Serves what is there, up to a bound that keeps Stop() prompt under a flood.
  absl::Status Drain(Handler& handler) {
    constexpr int kMaxMessages = 256;
    for (int i = 0; i < kMaxMessages && !handler.Done(); ++i) {
      absl::StatusOr<Frames> frames = ReceiveAny();
      if (absl::IsDeadlineExceeded(frames.status())) return absl::OkStatus();
      if (frames.ok()) {
        HandleFrames(handler, *frames);
      } else if (absl::IsDataLoss(frames.status())) {
        Refuse(handler, frames.status());
      } else {
        return frames.status();
      }
      RETURN_IF_ERROR(SendReplies());
      RETURN_IF_ERROR(TickIfDue(handler));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Frames> ReceiveAny() {
    if (rings_ != nullptr) {
      absl::StatusOr<Frames> frames = rings_->Receive(&from_);
      if (!absl::IsDeadlineExceeded(frames.status())) return frames;
    }
    absl::StatusOr<Frames> frames = ReceiveFrames(socket_, &from_);
    // ZeroMQ lets a client choose any name: with that of a ring, its reply would go there.
    if (frames.ok() && RingServer::IsPeer(from_)) {
      return DataError("a client at the socket calls itself one of shared memory");
    }
    return frames;
  }

  absl::Status SendTo(const PeerId& to, Frames frames) {
    if (rings_ != nullptr && RingServer::IsPeer(to)) return rings_->Send(to, std::move(frames));
    return SendFrames(socket_, to, frames);
  }

  void HandleFrames(Handler& handler, const Frames& frames) {
    absl::StatusOr<Message> request = Decode(frames);
    if (request.ok()) {
      handler.Handle(from_, *std::move(request), outbox_);
      return;
    }
    Refuse(handler, request.status());
    if (absl::IsInvalidArgument(request.status())) {
      // Of another version, whose sequence we cannot trust; the version in our header tells it all.
      outbox_.push_back({from_, ErrorMessage(request.status())});
    }
  }

  void Refuse(Handler& handler, const absl::Status& reason) {
    handler.CountRefused();
    LOG_EVERY_T(WARNING, 1) << endpoint_ << ": dropped a request: " << reason.message();
  }

  absl::Status TickIfDue(Handler& handler) {
    const int64_t now_ms = Clock::Steady()->NowMs();
    if (now_ms < next_tick_ms_) return absl::OkStatus();
    next_tick_ms_ = now_ms + kTickEveryMs;
    handler.Tick(now_ms, outbox_);
    return SendReplies();
  }

  // A reply that cannot leave is dropped: its client asks again if it is still there.
  absl::Status SendReplies() {
    for (Outgoing& reply : outbox_) {
      const uint64_t sequence = reply.message.header.sequence();
      Frames frames = Encode(std::move(reply.message));
      if (absl::Status sizes = CheckFrameSizes(frames); !sizes.ok()) {
        Message error = ErrorMessage(WithContext(sizes, "reply"));
        error.header.set_sequence(sequence);
        frames = Encode(std::move(error));
      }
      const absl::Status sent = SendTo(reply.to, std::move(frames));
      if (absl::IsUnavailable(sent)) {
        LOG_EVERY_T(WARNING, 1) << endpoint_ << ": dropped a reply: " << sent.message();
      } else if (!sent.ok()) {
        return WithContext(sent, endpoint_);
      }
    }
    outbox_.clear();
    return absl::OkStatus();
  }

  static Message ErrorMessage(const absl::Status& status) {
    Message message;
    message.header.set_kind(WireHeader::ERROR);
    message.header.mutable_error()->set_code(static_cast<int>(status.code()));
    message.header.mutable_error()->set_message(std::string(status.message()));
    return message;
  }

  const std::shared_ptr<ZmqContext> context_;  // Before the socket: it goes after it.
  zmq::socket_t socket_;
  const std::string endpoint_;
  const int stop_fd_;
  std::unique_ptr<RingServer> rings_;  // Null: none.
  std::string in_process_;             // Where Connect leads to; set by ListenLocally.
  int64_t next_tick_ms_ = 0;
  PeerId from_;
  Outbox outbox_;
};

// What ZeroMQ is to bind: names resolved, since it takes addresses only.
absl::StatusOr<std::string> BindAddress(const Endpoint& endpoint) {
  if (endpoint.is_ipc) {
    // ZeroMQ would unlink a path that a live server listens on.
    if (IpcPathInUse(endpoint.path)) return IoError("address already in use");
    return endpoint.ToString();
  }
  Endpoint address = endpoint;
  if (endpoint.HasWildcardHost()) {
    address.host = "0.0.0.0";
  } else {
    ASSIGN_OR_RETURN(address.host, ResolveHost(endpoint.host));
  }
  return address.ToString();
}

absl::Status BindError(const std::string& endpoint, int error_number, const char* what) {
  if (error_number == EADDRINUSE) {
    return IoError(absl::StrCat("listen ", endpoint, ": address already in use; stop the process ",
                                "that listens there or choose another port (0: any free one)"));
  }
  return IoError(absl::StrCat("listen ", endpoint, ": ", what));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> BindZmqServer(const std::string& endpoint,
                                                      const std::string& advertise_host,
                                                      std::shared_ptr<ZmqContext> context) {
  ASSIGN_OR_RETURN(Endpoint parsed, ParseEndpoint(endpoint));
  const absl::StatusOr<std::string> address = BindAddress(parsed);
  if (!address.ok()) {
    return WithContext(address.status(), absl::StrCat("listen ", parsed.ToString()));
  }
  if (context == nullptr) context = MakeZmqContext();
  ASSIGN_OR_RETURN(zmq::socket_t socket, MakeSocket(*context, zmq::socket_type::router, kLingerMs));
  try {
    socket.bind(*address);
    if (!parsed.is_ipc) {
      ASSIGN_OR_RETURN(const Endpoint bound,
                       ParseEndpoint(socket.get(zmq::sockopt::last_endpoint)));
      parsed.port = bound.port;
      if (parsed.HasWildcardHost()) {
        parsed.host = advertise_host.empty() ? AdvertisedHost() : advertise_host;
      }
    }
  } catch (const zmq::error_t& error) {
    return BindError(parsed.ToString(), error.num(), error.what());
  }
  const int stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (stop_fd < 0) return ErrnoError(errno, "eventfd for", parsed.ToString());
  return std::make_unique<ZmqServer>(std::move(context), std::move(socket), parsed.ToString(),
                                     stop_fd);
}

}  // namespace pagoda
