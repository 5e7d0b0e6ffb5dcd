// One shard behind a socket: rows pulled and pushed a second, one client, one shard thread.
//
// Workloads: --transport=tcp, ipc. 5M ids, 16-float rows, SGD, 10k random ids a message, 4 steps in
// flight; each step announces the next one's ids, pushes its gradients and pulls the next one's
// rows. Goal: >= 8M rows/s (pulled and pushed each count) on 2 cores.
// Limit: 13M (tcp) and 14.6M (ipc), design.md, section 10.
#include <gflags/gflags.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "common/net/client.h"
#include "common/net/transport.h"
#include "glog/logging.h"
#include "ps/shard.h"

DEFINE_string(transport, "both", "tcp, ipc or both");
DEFINE_int32(steps, 3000, "Measured steps.");
DEFINE_uint64(ids, 5'000'000, "Ids in the table.");

namespace pagoda {
namespace {

constexpr int kDim = 16, kListIds = 10'000, kLists = 64;
constexpr size_t kStepsInFlight = 4;

Buffer List(std::vector<uint64_t> ids) {
  std::sort(ids.begin(), ids.end(), [](uint64_t a, uint64_t b) { return MixId(a) < MixId(b); });
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return Buffer::Of(std::move(ids));
}

class Driver {
 public:
  Driver(const std::string& endpoint, uint32_t client_id) {
    ClientOptions options;
    options.job_id = 1;
    options.run_epoch = 1;
    options.client_id = client_id;
    auto channel = OpenZmqChannel(endpoint);
    CHECK(channel.ok()) << channel.status();
    client_ = std::make_unique<ShardClient>(*std::move(channel), options, Clock::Steady());
  }
  void Hello() {
    Message request;
    request.header.set_kind(WireHeader::HELLO);
    pagoda::Hello& hello = *request.header.mutable_hello();
    hello.mutable_schema()->add_optimizer()->set_rule("sgd");
    TableSchema& table = *hello.mutable_schema()->add_table();
    table.set_name("bench");
    table.set_dim(kDim);
    table.add_optimizer(0);
    table.set_init_range(0.05);
    hello.set_shard_count(1);
    hello.set_worker_count(1);
    hello.set_lane_count(1);
    hello.set_peer_timeout_ms(30'000);
    Check(client_->Call(std::move(request)).status());
  }
  // Steps over `lists`, several in flight; returns ids a second.
  double Run(const std::vector<Buffer>& lists, int64_t steps) {
    const auto start = std::chrono::steady_clock::now();
    uint64_t ids = 0;
    Announce(step_, lists[0]);
    for (int64_t i = 0; i < steps; ++i) {
      const Buffer& now = lists[i % lists.size()];
      Announce(step_ + 1, lists[(i + 1) % lists.size()]);
      Step(now);
      ids += now.size() / 8;
      while (in_flight_.size() > 2 * kStepsInFlight - 2) AwaitOne();
    }
    while (!in_flight_.empty()) AwaitOne();
    PushWithoutPull(lists[steps % lists.size()]);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    return static_cast<double>(ids) / seconds.count();
  }
  void Shutdown() {
    Message request;
    request.header.set_kind(WireHeader::SHUTDOWN);
    Check(client_->Call(std::move(request)).status());
  }

 private:
  static void Check(const absl::Status& status) { CHECK(status.ok()) << status; }
  void Start(Message message) {
    auto sequence = client_->Start(std::move(message));
    CHECK(sequence.ok()) << sequence.status();
    in_flight_.push_back(*sequence);
  }
  void AwaitOne() {
    Check(client_->Await(in_flight_.front()).status());
    in_flight_.pop_front();
  }
  void Announce(int64_t step, const Buffer& ids) {
    Message message;
    message.header.set_kind(WireHeader::ANNOUNCE);
    message.header.set_step(step);
    message.header.add_segment()->set_count(ids.size() / 8);
    message.ids = ids;
    Start(std::move(message));
  }
  Message Push(const Buffer& ids) const {
    Message message;
    message.header.set_kind(WireHeader::STEP);
    message.header.set_step(step_);
    message.header.set_has_push(true);
    message.header.add_segment()->set_count(ids.size() / 8);
    OptimizerClock& clock = *message.header.add_clock();
    clock.set_step(step_ + 1);
    clock.set_learning_rate(0.01);
    message.values = Buffer(gradients_.data(), ids.size() / 8 * kDim * 4, gradients_.owner());
    return message;
  }
  void Step(const Buffer& ids) {
    Message message = Push(ids);
    message.header.set_has_pull(true);
    message.header.set_pull_step(++step_);
    Start(std::move(message));
  }
  void PushWithoutPull(const Buffer& ids) {
    Start(Push(ids));
    AwaitOne();
    ++step_;
  }

  std::unique_ptr<ShardClient> client_;
  std::deque<uint64_t> in_flight_;
  int64_t step_ = 0;
  const Buffer gradients_ = Buffer::Of(std::vector<float>(kListIds * kDim, 0.01f));
};

void Measure(const std::string& listen) {
  auto server = BindZmqServer(listen, "127.0.0.1");
  CHECK(server.ok()) << server.status();
  Shard shard({}, Clock::Steady());
  std::thread serving([&] { CHECK((*server)->Serve(shard).ok()); });
  Driver driver((*server)->endpoint(), 0);
  driver.Hello();

  std::mt19937_64 random(1);
  std::vector<uint64_t> all(FLAGS_ids);
  for (uint64_t i = 0; i < FLAGS_ids; ++i) all[i] = i;
  std::shuffle(all.begin(), all.end(), random);
  std::vector<Buffer> fill, lists;
  for (uint64_t first = 0; first < FLAGS_ids; first += kListIds) {
    fill.push_back(
        List({all.begin() + first, all.begin() + std::min<uint64_t>(FLAGS_ids, first + kListIds)}));
  }
  driver.Run(fill, fill.size());
  for (int i = 0; i < kLists; ++i) {
    std::vector<uint64_t> ids(kListIds);
    for (uint64_t& id : ids) id = random() % FLAGS_ids;
    lists.push_back(List(std::move(ids)));
  }
  std::vector<double> rates;
  for (int run = 0; run < 5; ++run) rates.push_back(driver.Run(lists, FLAGS_steps / 5));
  std::sort(rates.begin(), rates.end());
  std::printf("%s: %.2f M ids/s = %.2f M rows/s pulled and pushed (median of 5; %.2f to %.2f)\n",
              listen.c_str(), rates[2] / 1e6, 2 * rates[2] / 1e6, 2 * rates[0] / 1e6,
              2 * rates[4] / 1e6);
  driver.Shutdown();
  serving.join();
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  google::ParseCommandLineFlags(&argc, &argv, true);
  google::InitGoogleLogging(argv[0]);
  utsname machine;
  uname(&machine);
  std::printf("%s, %u cores; %d ids a message, %zu steps in flight, dim %d, sgd, %llu ids\n",
              machine.machine, std::thread::hardware_concurrency(), pagoda::kListIds,
              pagoda::kStepsInFlight, pagoda::kDim, static_cast<unsigned long long>(FLAGS_ids));
  if (FLAGS_transport != "ipc") pagoda::Measure("tcp://127.0.0.1:0");
  if (FLAGS_transport != "tcp") {
    pagoda::Measure(absl::StrCat("ipc:///tmp/pagoda-wire-bench-", getpid()));
  }
  return 0;
}
