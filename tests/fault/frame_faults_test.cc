// Real workers and standing servers with a network between them that delays, repeats, swaps, drops
// and damages messages (tests/support/frame_proxy.h): slower, and the same bits.
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/frame_proxy.h"
#include "tests/support/process.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

using ::testing::HasSubstr;

constexpr int kServers = 2;
constexpr double kLimitSeconds = 150;  // Of a run with some dozen repeats of 2 s.

void SleepMs(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

FaultCounts operator+(const FaultCounts& a, const FaultCounts& b) {
  return {a.passed + b.passed,
          a.delayed + b.delayed,
          a.duplicated + b.duplicated,
          a.reordered + b.reordered,
          a.dropped + b.dropped,
          a.corrupted_requests + b.corrupted_requests,
          a.corrupted_replies + b.corrupted_replies};
}

// Servers, each behind a proxy of its own with the plan.
class Network {
 public:
  Network(const std::string& stem, FaultPlan plan) : servers_(kServers, stem) {
    for (const std::string& server : servers_.endpoints()) {
      proxies_.push_back(std::make_unique<FrameProxy>(server, plan));
      ++plan.seed;
    }
  }
  std::string Flag() const {
    std::vector<std::string> endpoints;
    for (const auto& proxy : proxies_) endpoints.push_back(proxy->endpoint());
    return "--servers=" + absl::StrJoin(endpoints, ",");
  }
  const std::string& endpoint(int server) const { return proxies_[server]->endpoint(); }
  void Mend() {
    for (const auto& proxy : proxies_) proxy->Mend();
  }
  FaultCounts counts() const {
    FaultCounts sum;
    for (const auto& proxy : proxies_) sum = sum + proxy->counts();
    return sum;
  }
  // What the servers counted of the kind, "duplicate" or "refused".
  int64_t CountedByServers(const std::string& kind) const {
    int64_t sum = 0;
    const std::string output = OutputOf({Binary("psctl"), "status", servers_.Flag()});
    const std::vector<std::string> words = absl::StrSplit(output, absl::ByAnyChar(" \n"));
    for (size_t i = 1; i < words.size(); ++i) {
      int64_t count = 0;
      if (words[i] != kind) continue;
      EXPECT_TRUE(absl::SimpleAtoi(words[i - 1], &count)) << output;
      sum += count;
    }
    return sum;
  }

 private:
  StandingServers servers_;  // Before their proxies: they go after them.
  std::vector<std::unique_ptr<FrameProxy>> proxies_;
};

class FrameFaults : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryDirectory;
    OutputOf(Worker("reference"));
    reference_ = DigestOf(RunDir("reference"));
    ASSERT_EQ(reference_.size(), 32u);
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string RunDir(const std::string& run) { return folder_->File(run); }

  // 50 steps, two checkpoints and evaluations.
  static Arguments Worker(const std::string& run, const Arguments& more = {}) {
    return Joined({Binary("worker"), "--model=mmoe", "--dataset=planted",
                   "--config_root=" PAGODA_SOURCE_DIR "/configs", "--run_dir=" + RunDir(run),
                   "--lanes=4", "--batch_size=64", "--epochs=1", "--log_every=1",
                   "--override=model { embedding_dim: 4 experts: 2 expert: [16] tower: [8] } "
                   "dataset { planted { rows: 4000 } } train { checkpoint_every_steps: 20 }"},
                  more);
  }

  static Network MakeNetwork(const std::string& run, const FaultPlan& plan) {
    return Network(folder_->File(run + "-server"), plan);
  }

  // Two workers through the network: the undisturbed digest.
  static void ExpectReference(const std::string& run, const Network& network) {
    const Finished done = RunProcess(Mpirun(2, Worker(run, {network.Flag()})), kLimitSeconds);
    ASSERT_EQ(done.exit_code, 0) << done.output;
    EXPECT_EQ(DigestOf(RunDir(run)), reference_) << done.output;
  }

  static TemporaryDirectory* folder_;
  static std::string reference_;  // The digest of a run in one process.
};
TemporaryDirectory* FrameFaults::folder_ = nullptr;
std::string FrameFaults::reference_;

TEST_F(FrameFaults, NoFaultsChangeNothing) {
  const Network network = MakeNetwork("none", {});
  ExpectReference("none", network);
  EXPECT_GT(network.counts().passed, 300);  // It is this way that the run went.
  EXPECT_EQ(network.CountedByServers("refused"), 0);
}

TEST_F(FrameFaults, DelaysCostTimeOnly) {
  FaultPlan plan;
  plan.delay = 0.5;
  const Network network = MakeNetwork("delay", plan);
  ExpectReference("delay", network);
  EXPECT_GT(network.counts().delayed, 100);
}

TEST_F(FrameFaults, RepeatedMessagesAreAppliedOnce) {
  FaultPlan plan;
  plan.duplicate = 0.5;
  const Network network = MakeNetwork("duplicate", plan);
  ExpectReference("duplicate", network);
  EXPECT_GT(network.counts().duplicated, 100);
  EXPECT_GT(network.CountedByServers("duplicate"), 50);
}

TEST_F(FrameFaults, SwappedMessagesAreTakenInOrder) {
  FaultPlan plan;
  plan.reorder = 0.1;
  plan.max_costly = 20;  // Most wait for a message that does not come, which costs little.
  const Network network = MakeNetwork("reorder", plan);
  ExpectReference("reorder", network);
  EXPECT_GT(network.counts().reordered, 0);
}

TEST_F(FrameFaults, LostMessagesAreSentAgain) {
  FaultPlan plan;
  plan.drop = 0.02;
  plan.max_costly = 3;
  const Network network = MakeNetwork("drop", plan);
  ExpectReference("drop", network);
  EXPECT_GT(network.counts().dropped, 3);
}

TEST_F(FrameFaults, DamagedMessagesAreSeenAndSentAgain) {
  FaultPlan plan;
  plan.corrupt = 0.02;
  plan.max_costly = 4;
  const Network network = MakeNetwork("corrupt", plan);
  ExpectReference("corrupt", network);
  EXPECT_GT(network.counts().corrupted_replies, 0);
  EXPECT_GT(network.counts().corrupted_requests, 0);
  EXPECT_EQ(network.CountedByServers("refused"), network.counts().corrupted_requests);
}

TEST_F(FrameFaults, AllAtOnceFromAnySeed) {
  FaultPlan plan;
  plan.seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", plan.seed));
  plan.delay = plan.duplicate = 0.2;
  plan.reorder = plan.drop = plan.corrupt = 0.02;
  plan.max_costly = 6;
  const Network network = MakeNetwork("all", plan);
  ExpectReference("all", network);
}

// Longer than the time after which requests are sent again, shorter than the limit of a peer.
TEST_F(FrameFaults, ACutThatHealsCostsTimeOnly) {
  FaultPlan plan;
  plan.cut_after = 100;
  Network network = MakeNetwork("heals", plan);
  std::thread healer([&network] {
    for (int i = 0; i < 3'000 && network.counts().dropped == 0; ++i) SleepMs(10);
    SleepMs(5'000);
    network.Mend();
  });
  ExpectReference("heals", network);
  healer.join();
  EXPECT_GT(network.counts().dropped, 0);
}

TEST_F(FrameFaults, ACutThatStaysNamesTheServer) {
  FaultPlan plan;
  plan.cut_after = 100;
  const Network network = MakeNetwork("stays", plan);
  const Finished done = RunProcess(Worker("stays", {network.Flag()}), kLimitSeconds);
  EXPECT_EQ(done.exit_code, 75) << done.output;
  EXPECT_LT(done.seconds, 60);
  EXPECT_THAT(done.output, HasSubstr("no answer in 30000 ms"));
  EXPECT_THAT(done.output,
              testing::AnyOf(HasSubstr(network.endpoint(0)), HasSubstr(network.endpoint(1))));
}

}  // namespace
}  // namespace pagoda::test
