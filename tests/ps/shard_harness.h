// A shard and its clients without a network: requests are handed over in the test's thread, replies
// collected per client.
#ifndef PAGODA_TESTS_PS_SHARD_HARNESS_H_
#define PAGODA_TESTS_PS_SHARD_HARNESS_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "common/optim/rule.h"
#include "glog/logging.h"
#include "ps/shard.h"
#include "ps/table/row.h"
#include "tests/support/temporary_directory.h"

namespace pagoda {

// The ledger's rule: adds the gradient to the weights and counts pushes in its state, exactly.
class LedgerRule : public Rule {
 public:
  int state_per_weight() const override { return 1; }
  bool StartsAtZero() const override { return true; }
  void Apply(const RuleStep& step, float* w, float* state, const float* g,
             int64_t n) const override {
    Add(step, w, state, g, n);
  }
  void Apply(const RuleStep& step, double* w, double* state, const double* g,
             int64_t n) const override {
    Add(step, w, state, g, n);
  }

 private:
  template <typename T>
  static void Add(const RuleStep&, T* w, T* state, const T* g, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      w[i] += g[i];
      state[i] += 1;
    }
  }
};

class ManualClock : public Clock {
 public:
  int64_t NowMs() const override { return now_ms_; }
  void SleepMs(int64_t duration_ms) override { now_ms_ += duration_ms; }

 private:
  int64_t now_ms_ = 1000;
};

inline std::vector<uint64_t> Sorted(std::vector<uint64_t> ids) {
  std::sort(ids.begin(), ids.end(), [](uint64_t a, uint64_t b) { return MixId(a) < MixId(b); });
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

#define EXPECT_OK_REPLY(reply) \
  EXPECT_EQ((reply).header.kind(), WireHeader::OK) << (reply).header.error().message()

inline std::string ErrorOf(const Message& reply) {
  EXPECT_EQ(reply.header.kind(), WireHeader::ERROR);
  return reply.header.error().message();
}

inline constexpr int kDims[] = {4, 3};  // Of TwoTables.
using IdsByTable = std::map<uint32_t, std::vector<uint64_t>>;
// [table]: how many ids, and their gradients [ids, dim].
using GradientsByTable = std::map<uint32_t, std::pair<uint32_t, std::vector<float>>>;

// Two tables, "user" of dim 4 and "item" of dim 3, updated by optimizer 0 ("ledger" unless told).
inline Schema TwoTables(const std::string& rule = "test_ledger") {
  Schema schema;
  schema.set_seed(7);
  OptimizerSchema& optimizer = *schema.add_optimizer();
  optimizer.set_name("sparse");
  optimizer.set_rule(rule);
  for (const auto& [name, dim] : {std::pair<const char*, int>{"user", 4}, {"item", 3}}) {
    TableSchema& table = *schema.add_table();
    table.set_name(name);
    table.set_dim(dim);
    table.add_optimizer(0);
    table.set_init_range(0.05);
  }
  return schema;
}

// What rows of these ids start from, one after the other.
inline std::vector<float> InitialWeights(const Schema& schema, const IdsByTable& ids) {
  std::vector<float> weights;
  for (const auto& [table, list] : ids) {
    const absl::StatusOr<RowLayout> layout = RowLayout::Make(schema, static_cast<int>(table));
    CHECK(layout.ok()) << layout.status();
    for (const uint64_t id : list) {
      weights.resize(weights.size() + layout->dim());
      layout->InitialWeights(id, weights.data() + weights.size() - layout->dim());
    }
  }
  return weights;
}

class ShardHarness {
 public:
  explicit ShardHarness(const ShardOptions& options = {}, Clock* clock = Clock::Steady())
      : shard_(options, clock) {}

  Shard& shard() { return shard_; }

  // Numbers the request as `client`'s next and returns the last reply that it got at once (kind
  // UNSPECIFIED: none).
  Message Call(uint32_t client, Message request) {
    request.header.set_sequence(++sequence_[client]);
    return Send(client, std::move(request));
  }
  // As it is: for repeated and hostile requests.
  Message Send(uint32_t client, Message request) {
    request.header.set_protocol_version(kProtocolVersion);
    request.header.set_client_id(client);
    if (request.header.job_id() == 0) request.header.set_job_id(job_id_);
    if (request.header.run_epoch() == 0) request.header.set_run_epoch(run_epoch_);
    Outbox outbox;
    shard_.Handle(absl::StrCat("peer", client), std::move(request), outbox);
    return Collect(client, outbox);
  }
  Message Tick(uint32_t client, int64_t now_ms) {
    Outbox outbox;
    shard_.Tick(now_ms, outbox);
    return Collect(client, outbox);
  }
  // Replies that came to `client` during others' calls.
  std::vector<Message>& inbox(uint32_t client) { return inbox_[client]; }
  uint64_t sequence(uint32_t client) const { return sequence_.at(client); }

  Message SayHello(const Hello& hello, uint64_t job_id = 1, uint64_t run_epoch = 1) {
    job_id_ = job_id;
    run_epoch_ = run_epoch;
    sequence_.clear();
    Message request;
    request.header.set_kind(WireHeader::HELLO);
    *request.header.mutable_hello() = hello;
    return Call(kCoordinatorClient, std::move(request));
  }
  Message Announce(uint32_t client, int64_t step, std::map<uint32_t, std::vector<uint64_t>> ids) {
    return Call(client, IdsMessage(WireHeader::ANNOUNCE, step, std::move(ids)));
  }
  // The step, with an announcement of `ids` riding on it.
  static Message WithAnnounce(Message step, int64_t announce_step,
                              std::map<uint32_t, std::vector<uint64_t>> ids) {
    Message announce = IdsMessage(WireHeader::ANNOUNCE, announce_step, std::move(ids));
    step.header.set_has_announce(true);
    step.header.set_announce_step(announce_step);
    *step.header.mutable_announced() = announce.header.segment();
    step.ids = announce.ids;
    return step;
  }
  // What the server does when nothing waits.
  void Idle() {
    Outbox outbox;
    shard_.Idle(outbox);
    EXPECT_TRUE(outbox.empty());
  }
  Message Pull(uint32_t client, std::map<uint32_t, std::vector<uint64_t>> ids) {
    return Call(client, IdsMessage(WireHeader::PULL, 0, std::move(ids)));
  }
  // push_step < 0: no push; pull_step < 0: no pull. gradients by table.
  static Message StepMessage(int64_t push_step, int64_t pull_step,
                             const GradientsByTable& gradients = {}) {
    Message request;
    request.header.set_kind(WireHeader::STEP);
    request.header.set_has_pull(pull_step >= 0);
    request.header.set_pull_step(std::max<int64_t>(0, pull_step));
    request.header.set_has_push(push_step >= 0);
    request.header.set_step(std::max<int64_t>(0, push_step));
    std::vector<float> values;
    for (const auto& [table, gradient] : gradients) {
      Segment& segment = *request.header.add_segment();
      segment.set_table(table);
      segment.set_count(gradient.first);
      values.insert(values.end(), gradient.second.begin(), gradient.second.end());
    }
    OptimizerClock& clock = *request.header.add_clock();
    clock.set_step(push_step + 1);
    clock.set_learning_rate(0.5);
    if (push_step < 0) request.header.clear_clock();
    request.values = Buffer::Of(std::move(values));
    return request;
  }
  static Message IdsMessage(WireHeader::Kind kind, int64_t step,
                            std::map<uint32_t, std::vector<uint64_t>> ids) {
    Message request;
    request.header.set_kind(kind);
    request.header.set_step(step);
    std::vector<uint64_t> all;
    for (const auto& [table, list] : ids) {
      Segment& segment = *request.header.add_segment();
      segment.set_table(table);
      segment.set_count(static_cast<uint32_t>(list.size()));
      all.insert(all.end(), list.begin(), list.end());
    }
    request.ids = Buffer::Of(std::move(all));
    return request;
  }
  static Message Kind(WireHeader::Kind kind) {
    Message request;
    request.header.set_kind(kind);
    return request;
  }
  std::pair<uint64_t, uint64_t> Digest() {
    const Message reply = Call(kCoordinatorClient, Kind(WireHeader::DIGEST));
    EXPECT_EQ(reply.header.kind(), WireHeader::OK) << reply.header.error().message();
    return {reply.header.digest_reply().digest_high(), reply.header.digest_reply().digest_low()};
  }
  StatusReply Status() {
    return Call(kCoordinatorClient, Kind(WireHeader::STATUS)).header.status_reply();
  }

 private:
  Message Collect(uint32_t client, Outbox& outbox) {
    Message mine;
    for (Outgoing& out : outbox) {
      if (out.to == absl::StrCat("peer", client)) {
        mine = out.message;
      } else {
        inbox_[out.message.header.client_id()].push_back(out.message);
      }
    }
    return mine;
  }

  Shard shard_;
  uint64_t job_id_ = 1, run_epoch_ = 1;
  std::map<uint32_t, uint64_t> sequence_;
  std::map<uint32_t, std::vector<Message>> inbox_;
};

inline Hello HelloFor(const Schema& schema, uint32_t workers = 1, uint32_t shard = 0,
                      uint32_t shards = 1) {
  Hello hello;
  *hello.mutable_schema() = schema;
  hello.set_shard(shard);
  hello.set_shard_count(shards);
  hello.set_worker_count(workers);
  hello.set_lane_count(workers);
  hello.set_holder("testhost:1");
  hello.set_peer_timeout_ms(5000);
  return hello;
}

}  // namespace pagoda

#endif  // PAGODA_TESTS_PS_SHARD_HARNESS_H_
