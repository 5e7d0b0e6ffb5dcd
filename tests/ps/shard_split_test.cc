// The same rows for any number of workers and shards and any budget; what stores and checkpoints
// have to do with it.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <utility>

#include "common/checkpoint/digest.h"
#include "common/checkpoint/manifest.h"
#include "common/sparse_sum.h"
#include "tests/ps/shard_harness.h"

namespace pagoda {
namespace {

// Eight lanes push 12 steps of random gradients; W workers hold 8 / W lanes each.
struct Outcome {
  std::pair<uint64_t, uint64_t> digest;
  uint64_t rows = 0, spills = 0, reloads = 0;
};

void AddUp(const RowDigest& digest, Outcome* outcome) {
  RowDigest sum(outcome->digest.first, outcome->digest.second);
  sum.Merge(digest);
  outcome->digest = {sum.high(), sum.low()};
}

constexpr int kLanes = 8, kSteps = 12;

SparseGradient LaneGradient(int64_t step, int lane, uint32_t table) {
  std::mt19937_64 random(step * 1000 + lane * 10 + table);
  SparseGradient gradient;
  std::vector<uint64_t> ids;
  const size_t n = lane == 3 ? 0 : random() % 120;  // One lane is always empty.
  for (size_t i = 0; i < n; ++i) ids.push_back(random() % 1500);
  gradient.ids = Sorted(ids);
  std::uniform_real_distribution<float> value(-1, 1);
  for (size_t i = 0; i < gradient.ids.size() * kDims[table]; ++i) {
    gradient.values.push_back(value(random));
  }
  return gradient;
}

// What worker `worker` of `workers` pushes at a step: its lanes' sum along the tree.
SparseGradient WorkerGradient(int64_t step, int worker, int workers, uint32_t table) {
  std::vector<SparseGradient> lanes;
  for (int lane = worker * kLanes / workers; lane < (worker + 1) * kLanes / workers; ++lane) {
    lanes.push_back(LaneGradient(step, lane, table));
  }
  std::vector<SparseView> views;
  for (const SparseGradient& lane : lanes) views.push_back({lane.ids, lane.values});
  SparseGradient sum;
  SumTree(views, kDims[table], &sum);
  return sum;
}

// The part of it that belongs to partitions of shard s.
void Cut(const SparseGradient& all, int dim, int shard, int shards, std::vector<uint64_t>* ids,
         std::vector<float>* values) {
  for (size_t i = 0; i < all.ids.size(); ++i) {
    if (ShardOfPartition(PartitionOf(all.ids[i]), shards) != shard) continue;
    ids->push_back(all.ids[i]);
    values->insert(values->end(), all.values.begin() + i * dim, all.values.begin() + (i + 1) * dim);
  }
}

Outcome Train(int workers, int shards, double budget_mb, const std::string& checkpoint_dir = "") {
  TemporaryDirectory folder;
  Outcome outcome;
  Manifest manifest;
  for (int s = 0; s < shards; ++s) {
    ShardOptions options;
    options.memory_budget_mb = budget_mb;
    options.store_dir = folder.path();
    ShardHarness shard(options);
    Hello hello = HelloFor(TwoTables("adam"), workers, s, shards);
    hello.mutable_schema()->mutable_optimizer(0)->mutable_parameter()->insert(
        {{"beta1", 0.9}, {"beta2", 0.999}, {"epsilon", 1e-8}});
    *manifest.mutable_schema() = hello.schema();
    EXPECT_OK_REPLY(shard.SayHello(hello));
    for (int64_t step = 0; step < kSteps; ++step) {
      for (int w = 0; w < workers; ++w) {
        IdsByTable ids;
        GradientsByTable gradients;
        for (uint32_t table = 0; table < 2; ++table) {
          auto& [count, values] = gradients[table];
          Cut(WorkerGradient(step, w, workers, table), kDims[table], s, shards, &ids[table],
              &values);
          count = ids[table].size();
        }
        EXPECT_OK_REPLY(shard.Announce(w, step, ids));
        const Message reply = shard.Call(w, ShardHarness::StepMessage(step, -1, gradients));
        if (w + 1 == workers) {
          EXPECT_OK_REPLY(reply);
        }
      }
    }
    const auto [high, low] = shard.Digest();
    AddUp(RowDigest(high, low), &outcome);
    const StatusReply status = shard.Status();
    outcome.rows += status.rows();
    outcome.spills += status.spills();
    outcome.reloads += status.reloads();
    if (checkpoint_dir.empty()) continue;
    Message request = ShardHarness::Kind(WireHeader::CHECKPOINT);
    request.header.mutable_checkpoint()->set_directory(checkpoint_dir);
    request.header.mutable_checkpoint()->set_step(kSteps);
    const Message reply = shard.Call(kCoordinatorClient, request);
    EXPECT_OK_REPLY(reply);
    EXPECT_EQ(reply.header.checkpoint_reply().digest_low(), low);
    for (const RowFile& file : reply.header.checkpoint_reply().file()) {
      *manifest.add_rows() = file;
    }
  }
  if (!checkpoint_dir.empty()) {
    manifest.set_format_version(kCheckpointVersion);
    manifest.set_row_count(outcome.rows);
    manifest.mutable_state()->set_step(kSteps);
    EXPECT_TRUE(CommitCheckpoint(checkpoint_dir, manifest).ok());
  }
  return outcome;
}

TEST(ShardSplitTest, SameRowsForAnyWorkersShardsAndBudget) {
  const Outcome one = Train(1, 1, 0);
  EXPECT_GT(one.rows, 1000u);
  for (const int workers : {1, 2, 4, 8}) {
    for (const int shards : {1, 2, 3}) {
      EXPECT_EQ(Train(workers, shards, 0).digest, one.digest) << workers << " " << shards;
    }
  }
  const Outcome spilled = Train(2, 1, 0.1);
  EXPECT_EQ(spilled.digest, one.digest);
  EXPECT_EQ(spilled.rows, one.rows);
  EXPECT_GT(spilled.spills, 0u);
  EXPECT_GT(spilled.reloads, 0u);
}

TEST(ShardSplitTest, CheckpointOfEightShardsLoadsIntoThree) {
  TemporaryDirectory folder;
  const absl::StatusOr<std::string> writing = BeginCheckpoint(folder.path(), kSteps);
  ASSERT_TRUE(writing.ok());
  const Outcome wrote = Train(1, 8, 0.1, *writing);
  std::string committed = *writing;
  committed.resize(committed.size() - 4);            // Without ".tmp".
  for (const double budget_mb : {0.0, 0.1, 0.02}) {  // The last: straight into the store.
    Outcome loaded;
    for (int s = 0; s < 3; ++s) {
      ShardOptions options;
      options.memory_budget_mb = budget_mb;
      options.store_dir = folder.path() + "/store";
      ShardHarness shard(options);
      Hello hello = HelloFor(TwoTables("adam"), 1, s, 3);
      hello.mutable_schema()->mutable_optimizer(0)->mutable_parameter()->insert(
          {{"beta1", 0.9}, {"beta2", 0.999}, {"epsilon", 1e-8}});
      hello.set_checkpoint(committed);
      hello.set_next_step(kSteps);
      const Message reply = shard.SayHello(hello);
      EXPECT_OK_REPLY(reply);
      loaded.rows += reply.header.hello_reply().rows();
      const auto [high, low] = shard.Digest();
      AddUp(RowDigest(high, low), &loaded);
    }
    EXPECT_EQ(loaded.rows, wrote.rows);
    EXPECT_EQ(loaded.digest, wrote.digest);
  }
}

TEST(ShardStoreTest, OldScratchIsGoneAfterHello) {
  TemporaryDirectory folder;
  const std::string stale = folder.path() + "/epoch-3/shard-0";
  std::filesystem::create_directories(stale);
  std::filesystem::create_directories(folder.path() + "/epoch-4/shard-1");
  ShardOptions options;
  options.memory_budget_mb = 1;
  options.store_dir = folder.path();
  ShardHarness shard(options);
  EXPECT_OK_REPLY(shard.SayHello(HelloFor(TwoTables(), 1, 0, 2), 1, 5));
  EXPECT_FALSE(std::filesystem::exists(stale));
  EXPECT_TRUE(std::filesystem::exists(folder.path() + "/epoch-4/shard-1")) << "another shard's";
}

TEST(ShardStoreTest, CheckpointOfAnotherStepIsRefused) {
  TemporaryDirectory folder;
  ShardHarness shard;
  shard.SayHello(HelloFor(TwoTables()));
  Message request = ShardHarness::Kind(WireHeader::CHECKPOINT);
  request.header.mutable_checkpoint()->set_directory(folder.path());
  request.header.mutable_checkpoint()->set_step(3);
  EXPECT_NE(ErrorOf(shard.Call(kCoordinatorClient, request)).find("step 3"), std::string::npos);
  request.header.mutable_checkpoint()->set_step(0);
  const Message empty = shard.Call(kCoordinatorClient, request);
  EXPECT_OK_REPLY(empty);
  EXPECT_EQ(empty.header.checkpoint_reply().file_size(), 0);
  request.header.mutable_checkpoint()->set_directory("/nowhere/at/all");
  EXPECT_NE(ErrorOf(shard.Call(kCoordinatorClient, request)).find("/nowhere"), std::string::npos);
}

}  // namespace
}  // namespace pagoda
