#include "tests/support/frame_proxy.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <optional>
#include <thread>
#include <utility>
#include <vector>
#include <zmq.hpp>

#include "absl/synchronization/mutex.h"
#include "common/random.h"
#include "glog/logging.h"

namespace pagoda::test {
namespace {

using Time = std::chrono::steady_clock;
using Parts = std::vector<std::string>;  // A message without its sender's name.

constexpr int kLookEveryMs = 20;  // How long the end may go unseen.

enum Direction { kRequests = 0, kReplies = 1 };

// What a plan makes of one message.
struct Fate {
  bool delay = false, duplicate = false, reorder = false, drop = false, corrupt = false;
  std::chrono::milliseconds late{0};
  std::array<uint32_t, 4> draw;  // For whatever else is drawn about it.
};

Fate Draw(const FaultPlan& plan, uint64_t stream, uint64_t number) {
  const auto draw = Philox(plan.seed, stream, number);
  Fate fate;
  fate.draw = draw;
  fate.late = std::chrono::milliseconds(1 + draw[1] % plan.max_delay_ms);
  double left = ToUnitFloat(draw[0]);
  for (const auto& [share, chosen] :
       {std::pair{plan.delay, &fate.delay}, std::pair{plan.duplicate, &fate.duplicate},
        std::pair{plan.reorder, &fate.reorder}, std::pair{plan.drop, &fate.drop},
        std::pair{plan.corrupt, &fate.corrupt}}) {
    if (left < share) {
      *chosen = true;
      break;
    }
    left -= share;
  }
  return fate;
}

// Another bit in one of the frames that have any.
void FlipBit(const Fate& fate, Parts* parts) {
  size_t bytes = 0;
  for (const std::string& part : *parts) bytes += part.size();
  CHECK_GT(bytes, 0u);
  size_t at = fate.draw[2] % bytes;
  for (std::string& part : *parts) {
    if (at < part.size()) {
      part[at] = static_cast<char>(part[at] ^ 1 << fate.draw[3] % 8);
      return;
    }
    at -= part.size();
  }
}

Parts Receive(zmq::socket_t& socket) {
  Parts parts;
  zmq::message_t part;
  do {
    CHECK(socket.recv(part)) << "the rest of a message is there with its first part";
    parts.push_back(part.to_string());
  } while (part.more());
  return parts;
}

void Send(zmq::socket_t& socket, const Parts& parts) {
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool is_last = i + 1 == parts.size();
    socket.send(zmq::buffer(parts[i]), is_last ? zmq::send_flags::none : zmq::send_flags::sndmore);
  }
}

}  // namespace

class FrameProxy::Impl {
 public:
  Impl(const std::string& server, const FaultPlan& plan)
      : server_(server), plan_(plan), front_(context_, zmq::socket_type::router) {
    Limit(front_);
    front_.bind("tcp://127.0.0.1:*");
    endpoint_ = front_.get(zmq::sockopt::last_endpoint);
    thread_ = std::thread([this] { Run(); });
  }
  ~Impl() {
    ends_ = true;
    thread_.join();
  }

  const std::string& endpoint() const { return endpoint_; }
  FaultCounts counts() const {
    absl::MutexLock lock(&mutex_);
    return counts_;
  }
  void Mend() { is_mended_ = true; }

 private:
  // One direction of one client's connection.
  struct Way {
    uint64_t stream = 0;  // 2 connection + direction: the counter of its draws.
    uint64_t number = 0;  // Of messages that came.
    Time::time_point last_leaves;
    std::optional<Parts> held;  // Waits for the next one to overtake it.
    Time::time_point held_until;
  };
  struct Client {
    std::string name;  // By which the front socket knows it.
    zmq::socket_t back;
    std::array<Way, 2> ways;  // By Direction.
  };
  struct Leaving {
    size_t client;
    Direction direction;
    Parts parts;
  };

  // No queue of ours drops or blocks: what is lost is lost by plan.
  static void Limit(zmq::socket_t& socket) {
    socket.set(zmq::sockopt::sndhwm, 0);
    socket.set(zmq::sockopt::rcvhwm, 0);
    socket.set(zmq::sockopt::linger, 0);
  }

  void Run() {
    while (!ends_) {
      std::vector<zmq_pollitem_t> items = {{front_.handle(), 0, ZMQ_POLLIN, 0}};
      for (Client& client : clients_) items.push_back({client.back.handle(), 0, ZMQ_POLLIN, 0});
      zmq::poll(items.data(), items.size(), NextLook());
      if (items[0].revents != 0) TakeRequest();
      for (size_t i = 1; i < items.size(); ++i) {
        if (items[i].revents != 0) Take(i - 1, kReplies, Receive(clients_[i - 1].back));
      }
      ReleaseHeld();
      while (!leaving_.empty() && leaving_.begin()->first <= Time::now()) {
        Leave(leaving_.begin()->second);
        leaving_.erase(leaving_.begin());
      }
    }
  }

  std::chrono::milliseconds NextLook() const {
    const auto look = Time::now() + std::chrono::milliseconds(kLookEveryMs);
    const auto next = leaving_.empty() ? look : std::min(look, leaving_.begin()->first);
    return std::max(std::chrono::ceil<std::chrono::milliseconds>(next - Time::now()),
                    std::chrono::milliseconds(0));
  }

  void TakeRequest() {
    Parts parts = Receive(front_);
    const std::string name = parts[0];
    parts.erase(parts.begin());
    Take(ClientNamed(name), kRequests, std::move(parts));
  }

  size_t ClientNamed(const std::string& name) {
    for (size_t i = 0; i < clients_.size(); ++i) {
      if (clients_[i].name == name) return i;
    }
    Client client{name, zmq::socket_t(context_, zmq::socket_type::dealer), {}};
    Limit(client.back);
    client.back.connect(server_);
    for (const Direction direction : {kRequests, kReplies}) {
      client.ways[direction].stream = 2 * clients_.size() + direction;
    }
    clients_.push_back(std::move(client));
    return clients_.size() - 1;
  }

  void Take(size_t client, Direction direction, Parts parts) {
    Way& way = clients_[client].ways[direction];
    Fate fate = Draw(plan_, way.stream, way.number++);
    absl::MutexLock lock(&mutex_);
    if ((fate.drop || fate.corrupt || fate.reorder) && ++costly_ > plan_.max_costly) fate = Fate();
    const bool is_cut = plan_.cut_after >= 0 && counts_.passed >= plan_.cut_after && !is_mended_;
    if (is_cut || fate.drop) {
      ++counts_.dropped;
      return;
    }
    if (fate.corrupt) {
      FlipBit(fate, &parts);
      ++(direction == kRequests ? counts_.corrupted_requests : counts_.corrupted_replies);
    }
    if (fate.reorder && !way.held) {
      way.held = std::move(parts);
      way.held_until = Time::now() + std::chrono::milliseconds(plan_.max_delay_ms);
      return;
    }
    counts_.delayed += fate.delay;
    counts_.duplicated += fate.duplicate;
    // Those behind a late one wait for it.
    auto leaves = std::max(Time::now(), way.last_leaves);
    if (fate.delay) leaves += fate.late;
    way.last_leaves = leaves;
    if (fate.duplicate) leaving_.insert({leaves + fate.late, {client, direction, parts}});
    leaving_.insert({leaves, {client, direction, std::move(parts)}});
    if (!way.held) return;
    ++counts_.reordered;
    leaving_.insert({leaves, {client, direction, *std::exchange(way.held, std::nullopt)}});
  }

  // Those that nothing has overtaken in time.
  void ReleaseHeld() {
    for (size_t client = 0; client < clients_.size(); ++client) {
      for (const Direction direction : {kRequests, kReplies}) {
        Way& way = clients_[client].ways[direction];
        if (!way.held || Time::now() < way.held_until) continue;
        leaving_.insert({Time::now(), {client, direction, *std::exchange(way.held, std::nullopt)}});
      }
    }
  }

  void Leave(const Leaving& leaving) {
    Client& client = clients_[leaving.client];
    if (leaving.direction == kRequests) {
      Send(client.back, leaving.parts);
    } else {
      Parts parts = {client.name};
      parts.insert(parts.end(), leaving.parts.begin(), leaving.parts.end());
      Send(front_, parts);
    }
    absl::MutexLock lock(&mutex_);
    ++counts_.passed;
  }

  const std::string server_;
  const FaultPlan plan_;
  std::string endpoint_;
  std::atomic<bool> ends_ = false, is_mended_ = false;
  mutable absl::Mutex mutex_;
  FaultCounts counts_ ABSL_GUARDED_BY(mutex_);

  // Its thread's.
  zmq::context_t context_{1};
  zmq::socket_t front_;
  std::vector<Client> clients_;                       // By connection, as they came.
  std::multimap<Time::time_point, Leaving> leaving_;  // Equal times in order of insertion.
  int64_t costly_ = 0;
  std::thread thread_;
};

FrameProxy::FrameProxy(const std::string& server, const FaultPlan& plan)
    : impl_(std::make_unique<Impl>(server, plan)) {}
FrameProxy::~FrameProxy() = default;
const std::string& FrameProxy::endpoint() const { return impl_->endpoint(); }
FaultCounts FrameProxy::counts() const { return impl_->counts(); }
void FrameProxy::Mend() { impl_->Mend(); }

}  // namespace pagoda::test
