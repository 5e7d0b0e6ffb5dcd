// One shard behind a socket: rows pulled and pushed a second, one client, one shard thread.
//
// Workloads: --transport=tcp, ipc. 5M ids, 16-float rows, SGD, 10k random ids a message, 4 steps in
// flight; each step announces the next one's ids, pushes its gradients and pulls the next one's
// rows. An id is pulled once and pushed once: two rows. Goal: >= 8M rows/s on 2 cores.
// Limit: 13M (tcp) and 14.6M (ipc), design.md, section 10.
//
// Beside the rate on the clock stands what a step took of the processor, in all threads (client,
// shard, both sides' ZeroMQ) and in the shard's own: these hold on a busy machine too, and
// 2 cores / (all threads) is the rate that the machine would give if it were idle.
#include <gflags/gflags.h>
#include <pthread.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <fstream>
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
DEFINE_int32(steps, 500, "Steps of each of the five measured runs.");
DEFINE_uint64(ids, 5'000'000, "Ids in the table.");

namespace pagoda {
namespace {

constexpr int kDim = 16, kListIds = 10'000, kLists = 64;
constexpr int kRuns = 5;
constexpr size_t kStepsInFlight = 4;

// "model name" of /proc/cpuinfo, or the architecture.
std::string MachineName() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  utsname machine;
  uname(&machine);
  return machine.machine;
}

double CpuSeconds(clockid_t clock) {
  timespec time;
  CHECK_EQ(clock_gettime(clock, &time), 0);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// What one run took.
struct Cost {
  double ids = 0, wall_seconds = 0, cpu_seconds = 0, shard_cpu_seconds = 0;
};

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
  // Steps over `lists`, several in flight; returns how many ids were pushed.
  uint64_t Run(const std::vector<Buffer>& lists, int64_t steps) {
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
    return ids + lists[steps % lists.size()].size() / 8;
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

// All ids once, in random order, `kListIds` a message: rows are created as training creates them.
std::vector<Buffer> FillLists(std::mt19937_64& random) {
  std::vector<uint64_t> all(FLAGS_ids);
  for (uint64_t i = 0; i < FLAGS_ids; ++i) all[i] = i;
  std::shuffle(all.begin(), all.end(), random);
  std::vector<Buffer> lists;
  for (uint64_t first = 0; first < FLAGS_ids; first += kListIds) {
    const uint64_t end = std::min<uint64_t>(FLAGS_ids, first + kListIds);
    lists.push_back(List({all.begin() + first, all.begin() + end}));
  }
  return lists;
}

std::vector<Buffer> RandomLists(std::mt19937_64& random) {
  std::vector<Buffer> lists;
  for (int i = 0; i < kLists; ++i) {
    std::vector<uint64_t> ids(kListIds);
    for (uint64_t& id : ids) id = random() % FLAGS_ids;
    lists.push_back(List(std::move(ids)));
  }
  return lists;
}

void Print(const std::string& listen, std::vector<Cost> runs) {
  const auto rate = [](const Cost& run) { return run.ids / run.wall_seconds / 1e6; };
  std::sort(runs.begin(), runs.end(),
            [&](const Cost& a, const Cost& b) { return rate(a) < rate(b); });
  const double median = rate(runs[kRuns / 2]);
  std::printf("%s\n  %.2f M ids/s = %.2f M rows/s pulled and pushed (median of %d; %.2f to %.2f)\n",
              listen.c_str(), median, 2 * median, kRuns, 2 * rate(runs.front()),
              2 * rate(runs.back()));
  Cost all;
  for (const Cost& run : runs) {
    all.ids += run.ids;
    all.cpu_seconds += run.cpu_seconds;
    all.shard_cpu_seconds += run.shard_cpu_seconds;
  }
  const double ns = 1e9 * all.cpu_seconds / all.ids,
               shard_ns = 1e9 * all.shard_cpu_seconds / all.ids;
  std::printf(
      "  processor: %.0f ns an id, of them %.0f (%.0f %%) in the shard's thread; two idle "
      "cores would give up to %.2f M rows/s\n",
      ns, shard_ns, 100 * shard_ns / ns, 2 * std::min(2e3 / ns, 1e3 / shard_ns));
}

void Measure(const std::string& listen) {
  auto server = BindZmqServer(listen, "127.0.0.1");
  CHECK(server.ok()) << server.status();
  Shard shard({}, Clock::Steady());
  std::thread serving([&] { CHECK((*server)->Serve(shard).ok()); });
  clockid_t shard_clock;
  CHECK_EQ(pthread_getcpuclockid(serving.native_handle(), &shard_clock), 0);
  Driver driver((*server)->endpoint(), 0);
  driver.Hello();

  std::mt19937_64 random(1);
  const std::vector<Buffer> fill = FillLists(random);
  driver.Run(fill, static_cast<int64_t>(fill.size()) - 1);
  const std::vector<Buffer> lists = RandomLists(random);
  driver.Run(lists, kLists);  // Warm.
  std::vector<Cost> runs(kRuns);
  for (Cost& run : runs) {
    const auto start = std::chrono::steady_clock::now();
    const double cpu = CpuSeconds(CLOCK_PROCESS_CPUTIME_ID), shard_cpu = CpuSeconds(shard_clock);
    run.ids = static_cast<double>(driver.Run(lists, FLAGS_steps));
    run.shard_cpu_seconds = CpuSeconds(shard_clock) - shard_cpu;
    run.cpu_seconds = CpuSeconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    run.wall_seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  Print(listen, std::move(runs));
  driver.Shutdown();
  serving.join();
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  google::ParseCommandLineFlags(&argc, &argv, true);
  google::InitGoogleLogging(argv[0]);
  std::printf("%s, %u cores; %d ids a message, %zu steps in flight, dim %d, sgd, %llu ids\n",
              pagoda::MachineName().c_str(), std::thread::hardware_concurrency(), pagoda::kListIds,
              pagoda::kStepsInFlight, pagoda::kDim, static_cast<unsigned long long>(FLAGS_ids));
  if (FLAGS_transport != "ipc") pagoda::Measure("tcp://127.0.0.1:0");
  if (FLAGS_transport != "tcp") {
    pagoda::Measure(absl::StrCat("ipc:///tmp/pagoda-wire-bench-", getpid()));
  }
  return 0;
}
