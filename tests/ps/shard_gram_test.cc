// Steps whose tasks' gradients come apart: the same inner products and rows for any number of
// workers and shards, and nothing that a peer can break.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "common/gram.h"
#include "common/sparse_sum.h"
#include "tests/ps/shard_harness.h"

namespace pagoda {
namespace {

using Values = std::map<uint32_t, std::vector<float>>;  // By table: [ids, dim]
using Tasks = std::vector<Values>;                      // [K]

Message Push(int64_t step, const IdsByTable& ids, const Tasks& tasks) {
  Message request = ShardHarness::StepMessage(step, -1);
  request.header.set_task_count(static_cast<uint32_t>(tasks.size()));
  std::vector<float> values;
  for (const auto& [table, list] : ids) {
    for (size_t k = 0; k < tasks.size(); ++k) {
      Segment& segment = *request.header.add_segment();
      segment.set_table(table);
      segment.set_count(static_cast<uint32_t>(list.size()));
      segment.set_task(static_cast<uint32_t>(k));
      const std::vector<float>& own = tasks[k].at(table);
      values.insert(values.end(), own.begin(), own.end());
    }
  }
  request.values = Buffer::Of(std::move(values));
  return request;
}

Message Combination(int64_t step, const std::vector<double>& coefficients, int64_t pull_step = -1) {
  Message request = ShardHarness::Kind(WireHeader::COMBINE);
  request.header.set_step(step);
  for (const double c : coefficients) request.header.add_coefficient(c);
  request.header.set_has_pull(pull_step >= 0);
  if (pull_step >= 0) request.header.set_pull_step(pull_step);
  return request;
}

Tasks Constant(const IdsByTable& ids, const std::vector<float>& by_task) {
  Tasks tasks;
  for (const float value : by_task) {
    Values& values = tasks.emplace_back();
    for (const auto& [table, list] : ids) {
      values[table].assign(list.size() * kDims[table], value);
    }
  }
  return tasks;
}

std::vector<double> SumOf(const std::vector<Message>& replies, size_t pairs) {
  std::vector<double> sum(pairs, 0.0);
  for (const Message& reply : replies) {
    EXPECT_EQ(reply.header.kind(), WireHeader::OK) << reply.header.error().message();
    EXPECT_EQ(reply.header.encoding(), WireHeader::F64);
    const absl::Span<const double> gram = Doubles(reply);
    for (size_t i = 0; i < gram.size(); ++i) sum[i % pairs] += gram[i];
  }
  return sum;
}

void ExpectError(const Message& reply, const std::string& text) {
  EXPECT_EQ(reply.header.kind(), WireHeader::ERROR) << text;
  EXPECT_NE(reply.header.error().message().find(text), std::string::npos)
      << reply.header.error().message();
}

TEST(ShardGramTest, AnswersInnerProductsAndAppliesTheCombination) {
  ShardHarness shard;
  shard.SayHello(HelloFor(TwoTables("sgd")));
  const IdsByTable ids = {{0, Sorted({1, 2, 3})}, {1, Sorted({9})}};
  shard.Announce(0, 0, ids);
  shard.Announce(0, 1, ids);
  const std::vector<float> before = InitialWeights(TwoTables("sgd"), ids);
  const Message gram = shard.Call(0, Push(0, ids, Constant(ids, {1.0f, -0.5f})));
  // 3 rows of 4 and one of 3: 15 elements.
  EXPECT_EQ(SumOf({gram}, 3), (std::vector<double>{15, -7.5, 3.75}));
  EXPECT_EQ(Doubles(gram).size(), size_t{kPartitions} * 3);
  EXPECT_EQ(shard.Status().rows(), 0u);  // Nothing is applied yet.

  const Message after = shard.Call(0, Combination(0, {2, 4}, /*pull_step=*/1));
  ASSERT_EQ(after.header.kind(), WireHeader::OK) << after.header.error().message();
  EXPECT_EQ(shard.Status().rows(), 4u);
  EXPECT_EQ(shard.Status().applied_step(), 1);
  // 2 * 1 + 4 * -0.5 = 0: nothing moves.
  EXPECT_THAT(pagoda::Values(after), ::testing::ElementsAreArray(before));
  shard.Call(0, Push(1, ids, Constant(ids, {1.0f, -0.5f})));
  EXPECT_EQ(shard.Call(0, Combination(1, {1, 0})).header.kind(), WireHeader::OK);
  const Message moved = shard.Pull(0, ids);
  for (size_t i = 0; i < pagoda::Values(moved).size(); ++i) {
    EXPECT_EQ(pagoda::Values(moved)[i], before[i] - 0.5f);  // Rate 0.5.
  }
}

TEST(ShardGramTest, PlainStepsMayFollow) {
  ShardHarness shard;
  shard.SayHello(HelloFor(TwoTables("sgd")));
  const IdsByTable ids = {{0, Sorted({1})}};
  for (int64_t step = 0; step < 3; ++step) {
    shard.Announce(0, step, ids);
    if (step == 1) {
      const auto plain = ShardHarness::StepMessage(step, -1, {{0, {1, {1, 1, 1, 1}}}});
      EXPECT_EQ(shard.Call(0, plain).header.kind(), WireHeader::OK);
      continue;
    }
    shard.Call(0, Push(step, ids, Constant(ids, {1.0f, 1.0f, 1.0f})));
    EXPECT_EQ(shard.Call(0, Combination(step, {1, 1, 1})).header.kind(), WireHeader::OK);
  }
  EXPECT_EQ(shard.Status().applied_step(), 3);
}

// What one worker of the fuzzed job pushes.
struct Lane {
  IdsByTable ids;
  Tasks tasks;
};
Lane RandomLane(uint32_t seed, int tasks) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Lane lane;
  for (const uint32_t table : {0, 1}) {
    std::vector<uint64_t> ids;
    for (int i = 0; i < 200; ++i) ids.push_back(random() % 300);
    lane.ids[table] = Sorted(ids);
  }
  for (int k = 0; k < tasks; ++k) {
    Values& values = lane.tasks.emplace_back();
    for (const auto& [table, list] : lane.ids) {
      for (size_t i = 0; i < list.size() * kDims[table]; ++i) {
        values[table].push_back(normal(random));
      }
    }
  }
  return lane;
}

// The part of a lane that shard s of S owns.
Lane PartOf(const Lane& lane, uint32_t shard, uint32_t shards) {
  Lane part;
  part.tasks.resize(lane.tasks.size());
  for (const auto& [table, ids] : lane.ids) {
    part.ids[table];
    for (auto& task : part.tasks) task[table];
    for (size_t i = 0; i < ids.size(); ++i) {
      const int partition = PartitionOfMixed(MixId(ids[i]));
      if (partition < FirstPartition(shard, shards)) continue;
      if (partition >= FirstPartition(shard + 1, shards)) continue;
      part.ids[table].push_back(ids[i]);
      for (size_t k = 0; k < lane.tasks.size(); ++k) {
        const float* from = lane.tasks[k].at(table).data() + i * kDims[table];
        part.tasks[k][table].insert(part.tasks[k][table].end(), from, from + kDims[table]);
      }
    }
  }
  return part;
}

// Two lanes as one worker's sum.
Lane SumLanes(const Lane& a, const Lane& b) {
  Lane sum;
  sum.tasks.resize(a.tasks.size());
  for (const auto& [table, ids] : a.ids) {
    for (size_t k = 0; k < a.tasks.size(); ++k) {
      SparseGradient added;
      const SparseView leaves[] = {{ids, a.tasks[k].at(table)},
                                   {b.ids.at(table), b.tasks[k].at(table)}};
      SumTree(leaves, kDims[table], &added);
      sum.ids[table] = added.ids;
      sum.tasks[k][table] = added.values;
    }
  }
  return sum;
}

struct Trained {
  std::vector<double> gram;
  unsigned __int128 digest = 0;
};
Trained TrainOn(const std::vector<Lane>& workers, uint32_t shards, int tasks) {
  Trained trained;
  std::vector<Message> grams;
  std::vector<double> coefficients(tasks, 0.25);
  coefficients[0] = -1.5;
  for (uint32_t s = 0; s < shards; ++s) {
    ShardHarness shard;
    const auto worker_count = static_cast<uint32_t>(workers.size());
    shard.SayHello(HelloFor(TwoTables("adam"), worker_count, s, shards));
    Message gram;
    for (uint32_t w = 0; w < worker_count; ++w) {
      const Lane part = PartOf(workers[w], s, shards);
      shard.Announce(w, 0, part.ids);
      gram = shard.Call(w, Push(0, part.ids, part.tasks));
    }
    for (uint32_t w = 0; w < worker_count; ++w) shard.Call(w, Combination(0, coefficients));
    grams.push_back(gram);
    const auto [high, low] = shard.Digest();
    trained.digest += static_cast<unsigned __int128>(high) << 64 | low;
  }
  trained.gram = SumOf(grams, GramSize(tasks));
  return trained;
}

TEST(ShardGramTest, TheSameBitsForAnySplit) {
  for (const int tasks : {1, 2, 5}) {
    const Lane a = RandomLane(1, tasks), b = RandomLane(2, tasks);
    const Trained one = TrainOn({SumLanes(a, b)}, 1, tasks);
    for (const uint32_t shards : {1, 2, 3}) {
      const Trained two = TrainOn({a, b}, shards, tasks);
      EXPECT_EQ(two.gram, one.gram) << shards;
      EXPECT_TRUE(two.digest == one.digest) << shards;
    }
    // Against the whole vectors, in double.
    const Lane sum = SumLanes(a, b);
    for (int i = 0, at = 0; i < tasks; ++i) {
      for (int j = i; j < tasks; ++j, ++at) {
        double dot = 0;
        for (const auto& [table, values] : sum.tasks[i]) {
          const auto& other = sum.tasks[j].at(table);
          for (size_t e = 0; e < values.size(); ++e) dot += double{values[e]} * double{other[e]};
        }
        EXPECT_NEAR(one.gram[at], dot, 1e-9 * std::abs(one.gram[0]));
      }
    }
  }
}

TEST(ShardGramTest, WaitsForAllPushesAndThenForAllCombinations) {
  ManualClock clock;
  ShardHarness shard({}, &clock);
  shard.SayHello(HelloFor(TwoTables("sgd"), /*workers=*/2));
  const IdsByTable ids = {{0, Sorted({1, 2})}};
  const Tasks tasks = Constant(ids, {1.0f, 2.0f});
  for (const uint32_t worker : {0, 1}) shard.Announce(worker, 0, ids);
  const auto missing = [&](uint32_t client) {
    const Message waiting = shard.Tick(client, clock.NowMs() + 1000);
    EXPECT_EQ(waiting.header.kind(), WireHeader::WAITING);
    EXPECT_EQ(waiting.header.waiting().missing_client_size(), 1);
    return waiting.header.waiting().missing_client(0);
  };
  EXPECT_EQ(shard.Call(0, Push(0, ids, tasks)).header.kind(), WireHeader::UNSPECIFIED);
  EXPECT_EQ(missing(0), 1u);
  const Message gram = shard.Call(1, Push(0, ids, tasks));
  EXPECT_EQ(SumOf({gram}, 3), (std::vector<double>{32, 64, 128}));
  ASSERT_EQ(shard.inbox(0).size(), 1u);
  EXPECT_EQ(SumOf({shard.inbox(0)[0]}, 3), SumOf({gram}, 3));

  const Message combine = Combination(0, {1, 1});
  EXPECT_EQ(shard.Call(1, combine).header.kind(), WireHeader::UNSPECIFIED);
  EXPECT_EQ(missing(1), 0u);
  EXPECT_EQ(shard.Status().applied_step(), 0);
  EXPECT_EQ(shard.Call(0, combine).header.kind(), WireHeader::OK);
  EXPECT_EQ(shard.Status().applied_step(), 1);
  // A repeated one is answered from memory.
  const auto digest = shard.Digest();
  Message again = combine;
  again.header.set_sequence(shard.sequence(0));
  EXPECT_EQ(shard.Send(0, again).header.kind(), WireHeader::OK);
  EXPECT_EQ(shard.Digest(), digest);
}

TEST(ShardGramTest, GivesUpOnAMissingCombination) {
  ManualClock clock;
  ShardHarness shard({}, &clock);
  shard.SayHello(HelloFor(TwoTables("sgd"), /*workers=*/2));
  const IdsByTable ids = {{0, Sorted({1, 2})}};
  for (const uint32_t worker : {0, 1}) shard.Announce(worker, 0, ids);
  for (const uint32_t worker : {0, 1}) {
    shard.Call(worker, Push(0, ids, Constant(ids, {1.0f, 2.0f})));
  }
  shard.Call(0, Combination(0, {1, 1}));
  ExpectError(shard.Tick(0, clock.NowMs() + 5000), "no coefficients of worker 1");
}

TEST(ShardGramTest, RefusesWhatIsNotAPushOfTasks) {
  ShardHarness shard;
  shard.SayHello(HelloFor(TwoTables("sgd"), /*workers=*/2));
  const IdsByTable ids = {{0, Sorted({1, 2})}, {1, Sorted({5})}};
  const Tasks tasks = Constant(ids, {1.0f, 2.0f});
  for (const uint32_t worker : {0, 1}) shard.Announce(worker, 0, ids);
  const Message good = Push(0, ids, tasks);

  Message bad = good;
  bad.header.set_task_count(kMaxGramTasks + 1);
  ExpectError(shard.Call(0, bad), "at most 64");
  bad = good;
  bad.header.set_task_count(3);  // Of which one has no gradients.
  ExpectError(shard.Call(0, bad), "2 tasks of 3");
  bad = good;
  bad.header.set_task_count(1);
  ExpectError(shard.Call(0, bad), "segment of task 1 of 1");
  bad = good;
  bad.header.clear_task_count();
  ExpectError(shard.Call(0, bad), "segment of task 1 of 0");
  bad = good;
  bad.header.mutable_segment(1)->set_task(0);
  ExpectError(shard.Call(0, bad), "twice there");
  bad = good;
  bad.header.set_has_pull(true);
  ExpectError(shard.Call(0, bad), "come with its COMBINE");
  ExpectError(shard.Call(0, Push(0, ids, Constant(ids, {1.0f, NAN}))), "not finite");
  EXPECT_EQ(shard.Call(0, good).header.kind(), WireHeader::UNSPECIFIED);
  // Another number of tasks than the first worker's.
  ExpectError(shard.Call(1, Push(0, ids, Constant(ids, {1.0f, 2.0f, 3.0f}))),
              "another worker's has 2");
  ExpectError(shard.Call(1, ShardHarness::StepMessage(0, -1)), "another worker's has 2");
}

TEST(ShardGramTest, RefusesWhatIsNoCombination) {
  ShardHarness shard;
  shard.SayHello(HelloFor(TwoTables("sgd"), /*workers=*/2));
  const IdsByTable ids = {{0, Sorted({1, 2})}};
  for (const uint32_t worker : {0, 1}) shard.Announce(worker, 0, ids);
  const Message push = Push(0, ids, Constant(ids, {1.0f, 2.0f}));
  ExpectError(shard.Call(0, Combination(0, {1, 1})), "not all pushed");
  shard.Call(0, push);
  ExpectError(shard.Call(0, Combination(0, {1, 1})), "not all pushed");
  shard.Call(1, push);
  ExpectError(shard.Call(0, Combination(1, {1, 1})), "not the next step");
  ExpectError(shard.Call(0, Combination(0, {1})), "1 coefficients");
  ExpectError(shard.Call(0, Combination(0, {1, 1, 1})), "3 coefficients");
  ExpectError(shard.Call(0, Combination(0, {1, INFINITY})), "not all of them finite");
  ExpectError(shard.Call(0, Combination(0, {1, 1}, /*pull_step=*/1)), "not announced");
  ExpectError(shard.Call(2, Combination(0, {1, 1})), "no worker");
  const auto before = shard.Digest();
  EXPECT_EQ(shard.Call(0, Combination(0, {1, 1})).header.kind(), WireHeader::UNSPECIFIED);
  ExpectError(shard.Call(0, Combination(0, {1, 1})), "combined before");
  ExpectError(shard.Call(1, Combination(0, {1, 2})), "differ from another worker's");
  EXPECT_EQ(shard.Digest(), before);
  Message tasks = Combination(0, {1, 1});
  tasks.header.set_task_count(2);  // Means nothing on a COMBINE.
  EXPECT_EQ(shard.Call(1, tasks).header.kind(), WireHeader::OK);
  ExpectError(shard.Call(1, Combination(0, {1, 1})), "not all pushed");
  EXPECT_NE(shard.Digest(), before);
}

// A combination that leaves the range of floats reaches no row.
TEST(ShardGramTest, AnOverflowFailsTheJob) {
  ShardHarness shard;
  shard.SayHello(HelloFor(TwoTables("sgd")));
  const IdsByTable ids = {{0, Sorted({1})}};
  shard.Announce(0, 0, ids);
  shard.Call(0, Push(0, ids, Constant(ids, {3e38f, 1.0f})));
  ExpectError(shard.Call(0, Combination(0, {2, 1})), "apply of step 0");
  EXPECT_EQ(shard.Status().rows(), 0u);
}

}  // namespace
}  // namespace pagoda
