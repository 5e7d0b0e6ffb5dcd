// A shard driven in the test's thread: nothing applied twice, nothing that a peer can break.
#include "ps/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "tests/ps/shard_harness.h"

namespace pagoda {
namespace {

PAGODA_REGISTER_RULE({"test_ledger", "", "", {}, [](const std::map<std::string, double>&) {
                        return std::unique_ptr<Rule>(new LedgerRule());
                      }});

GradientsByTable Ones(const IdsByTable& ids) {
  GradientsByTable gradients;
  for (const auto& [table, list] : ids) {
    gradients[table] = {static_cast<uint32_t>(list.size()),
                        std::vector<float>(list.size() * kDims[table], 1.0f)};
  }
  return gradients;
}

std::vector<float> ValuesOf(const Message& reply) {
  const absl::Span<const float> values = Values(reply);
  return {values.begin(), values.end()};
}

// One worker, one step with these ids; leaves the shard at step 1.
void OneStep(ShardHarness& shard, const IdsByTable& ids) {
  EXPECT_OK_REPLY(shard.Announce(0, 0, ids));
  EXPECT_OK_REPLY(shard.Call(0, ShardHarness::StepMessage(-1, 0)));
  EXPECT_OK_REPLY(shard.Call(0, ShardHarness::StepMessage(0, -1, Ones(ids))));
}

TEST(ShardTest, OneWorkerTrains) {
  ShardHarness shard;
  EXPECT_OK_REPLY(shard.SayHello(HelloFor(TwoTables())));
  const IdsByTable ids = {{0, Sorted({1, 2, 3})}, {1, Sorted({9})}};
  EXPECT_OK_REPLY(shard.Announce(0, 0, ids));
  EXPECT_OK_REPLY(shard.Call(0, ShardHarness::StepMessage(-1, 0)));
  EXPECT_OK_REPLY(shard.Announce(0, 1, {{0, Sorted({2, 4})}}));
  const Message reply = shard.Call(0, ShardHarness::StepMessage(0, 1, Ones(ids)));
  EXPECT_OK_REPLY(reply);
  ASSERT_EQ(reply.header.segment_size(), 1);
  EXPECT_EQ(reply.header.segment(0).count(), 2u);
  std::vector<float> wanted;  // 2 was pushed, 4 was not.
  for (const uint64_t id : Sorted({2, 4})) wanted.insert(wanted.end(), 4, id == 2 ? 1.0f : 0.0f);
  EXPECT_EQ(ValuesOf(reply), wanted);
  EXPECT_EQ(shard.Status().rows(), 4u);
  EXPECT_EQ(shard.Status().applied_step(), 1);
}

TEST(ShardTest, PullsChangeNothing) {
  ShardHarness shard;
  shard.SayHello(HelloFor(TwoTables("sgd")));
  OneStep(shard, {{0, Sorted({1, 2, 3})}});
  const auto before = shard.Digest();
  EXPECT_OK_REPLY(shard.Pull(0, {{0, Sorted({1, 7, 8})}, {1, Sorted({5})}}));
  EXPECT_OK_REPLY(shard.Pull(0, {}));
  EXPECT_OK_REPLY(shard.Announce(0, 1, {{1, Sorted({100, 200})}}));
  EXPECT_OK_REPLY(shard.Call(0, ShardHarness::StepMessage(-1, 1)));
  EXPECT_EQ(shard.Digest(), before);
  EXPECT_EQ(shard.Status().rows(), 3u);
}

// Steps get what the row would start from; others the default row, and word of it.
TEST(ShardTest, AnAbsentRowIsInitialInTrainingAndTheDefaultElsewhere) {
  ShardHarness shard;
  shard.SayHello(HelloFor(TwoTables("sgd")));
  const IdsByTable ids = {{0, Sorted({1, 2, 3})}, {1, Sorted({9})}};
  OneStep(shard, {{0, {ids.at(0)[1]}}});
  const Message pulled = shard.Pull(0, ids);
  EXPECT_OK_REPLY(pulled);
  EXPECT_EQ(pulled.header.absent(), "\x0d");  // All but the second.
  std::vector<float> wanted = InitialWeights(TwoTables("sgd"), ids);
  const std::vector<float> initial = wanted;
  for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = i / 4 == 1 ? wanted[i] - 0.5f : 0.0f;
  EXPECT_EQ(ValuesOf(pulled), wanted);
  EXPECT_OK_REPLY(shard.Announce(0, 1, ids));
  const std::vector<float> trained = ValuesOf(shard.Call(0, ShardHarness::StepMessage(-1, 1)));
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(trained[i], i / 4 == 1 ? wanted[i] : initial[i]) << i;
  }
}

TEST(ShardTest, ARepeatedPushAppliesOnce) {
  ShardHarness shard;
  shard.SayHello(HelloFor(TwoTables()));
  const IdsByTable ids = {{0, Sorted({1, 2})}};
  shard.Announce(0, 0, ids);
  const Message push = ShardHarness::StepMessage(0, -1, Ones(ids));
  EXPECT_OK_REPLY(shard.Call(0, push));
  Message again = push;
  again.header.set_sequence(shard.sequence(0));
  const Message reply = shard.Send(0, again);
  EXPECT_OK_REPLY(reply);
  EXPECT_EQ(reply.header.sequence(), shard.sequence(0));
  for (const float w : ValuesOf(shard.Pull(0, ids))) EXPECT_EQ(w, 1.0f);
  EXPECT_EQ(shard.Status().duplicate_requests(), 1u);
}

// Announcements that ride on steps, with and without time to fetch their rows in between.
TEST(ShardTest, AnnouncementsRideOnSteps) {
  for (const bool is_idle : {false, true}) {
    ShardHarness shard;
    shard.SayHello(HelloFor(TwoTables()));
    const IdsByTable ids[] = {{{0, Sorted({1, 2})}}, {{0, Sorted({2, 3})}, {1, Sorted({7})}}, {}};
    const auto idle = [&] {
      if (is_idle) shard.Idle();
    };
    // The first pull announces its own ids; each push those of the step after the next.
    EXPECT_OK_REPLY(
        shard.Call(0, ShardHarness::WithAnnounce(ShardHarness::StepMessage(-1, 0), 0, ids[0])));
    EXPECT_OK_REPLY(shard.Announce(0, 1, ids[1]));
    idle();
    const Message push =
        ShardHarness::WithAnnounce(ShardHarness::StepMessage(0, 1, Ones(ids[0])), 2, ids[2]);
    const Message reply = shard.Call(0, push);
    EXPECT_OK_REPLY(reply);
    EXPECT_EQ(reply.header.segment_size(), 2);
    Message again = push;
    again.header.set_sequence(shard.sequence(0));
    EXPECT_OK_REPLY(shard.Send(0, again));  // Announced once, applied once.
    idle();
    EXPECT_OK_REPLY(shard.Call(0, ShardHarness::StepMessage(1, 2, Ones(ids[1]))));
    EXPECT_OK_REPLY(shard.Call(0, ShardHarness::StepMessage(2, -1)));
    for (const float w : ValuesOf(shard.Pull(0, {{0, {2}}}))) EXPECT_EQ(w, 2.0f);
    EXPECT_EQ(shard.Status().rows(), 4u);
  }
}

TEST(ShardTest, AStepWithABadAnnouncementPushesNothing) {
  ShardHarness shard;
  shard.SayHello(HelloFor(TwoTables()));
  const IdsByTable good = {{0, Sorted({1, 2, 3})}};
  OneStep(shard, good);
  EXPECT_OK_REPLY(shard.Announce(0, 1, good));
  const auto before = shard.Digest();
  const Message push = ShardHarness::StepMessage(1, -1, Ones(good));
  for (const auto& [step, ids] : std::vector<std::pair<int64_t, IdsByTable>>{
           {1, good}, {0, good}, {1000, good}, {2, {{0, {5, 5}}}}, {2, {{2, {5}}}}}) {
    const Message bad = ShardHarness::WithAnnounce(push, step, ids);
    EXPECT_FALSE(ErrorOf(shard.Call(0, bad)).empty()) << "announced step " << step;
  }
  EXPECT_EQ(shard.Digest(), before);
  EXPECT_OK_REPLY(shard.Call(0, ShardHarness::WithAnnounce(push, 2, good)));
  EXPECT_NE(shard.Digest(), before);
}

TEST(ShardTest, ARequestThatCameTooEarlyIsDropped) {
  ShardHarness shard;
  shard.SayHello(HelloFor(TwoTables()));
  Message second = ShardHarness::IdsMessage(WireHeader::ANNOUNCE, 1, {});
  second.header.set_sequence(2);
  EXPECT_EQ(shard.Send(0, second).header.kind(), WireHeader::UNSPECIFIED);
  Message first = ShardHarness::IdsMessage(WireHeader::ANNOUNCE, 0, {});
  first.header.set_sequence(1);
  EXPECT_OK_REPLY(shard.Send(0, first));
  EXPECT_OK_REPLY(shard.Send(0, second));
}

TEST(ShardTest, WaitsForAllWorkersAndNamesTheMissing) {
  ManualClock clock;
  ShardHarness shard({}, &clock);
  shard.SayHello(HelloFor(TwoTables(), /*workers=*/3));
  const IdsByTable ids = {{0, Sorted({1, 2})}};
  for (uint32_t worker = 0; worker < 3; ++worker) {
    shard.Announce(worker, 0, worker == 2 ? IdsByTable() : ids);
    shard.Announce(worker, 1, ids);
  }
  EXPECT_EQ(shard.Call(0, ShardHarness::StepMessage(0, 1, Ones(ids))).header.kind(),
            WireHeader::UNSPECIFIED);
  EXPECT_EQ(shard.Tick(0, clock.NowMs() + 999).header.kind(), WireHeader::UNSPECIFIED);
  const Message waiting = shard.Tick(0, clock.NowMs() + 1000);
  ASSERT_EQ(waiting.header.kind(), WireHeader::WAITING);
  EXPECT_EQ(waiting.header.waiting().step(), 0);
  ASSERT_EQ(waiting.header.waiting().missing_client_size(), 2);
  EXPECT_EQ(waiting.header.waiting().missing_client(0), 1u);
  EXPECT_EQ(waiting.header.waiting().missing_client(1), 2u);

  shard.Call(1, ShardHarness::StepMessage(0, 1, Ones(ids)));
  const Message last = shard.Call(2, ShardHarness::StepMessage(0, 1));  // A worker without ids.
  EXPECT_OK_REPLY(last);
  EXPECT_EQ(ValuesOf(last), std::vector<float>(8, 2.0f));
  ASSERT_EQ(shard.inbox(0).size(), 1u);
  EXPECT_EQ(ValuesOf(shard.inbox(0)[0]), std::vector<float>(8, 2.0f));
  ASSERT_EQ(shard.inbox(1).size(), 1u);
}

// Worker 1 has a gradient of one optimizer only.
TEST(ShardTest, OptimizersMoveTheRowsThatTheyHaveGradientsOf) {
  Schema schema = TwoTables("sgd");
  OptimizerSchema& decaying = *schema.add_optimizer();
  decaying.set_name("decaying");
  decaying.set_rule("sgd");
  (*decaying.mutable_parameter())["l2"] = 1;
  schema.mutable_table(0)->add_optimizer(1);
  for (const uint32_t lone : {0u, 1u}) {
    ShardHarness shard;
    EXPECT_OK_REPLY(shard.SayHello(HelloFor(schema, /*workers=*/2)));
    const IdsByTable both = {{0, Sorted({1, 2})}}, one = {{0, Sorted({3})}},
                     all = {{0, Sorted({1, 2, 3})}};
    std::vector<float> expected = InitialWeights(schema, all);
    const auto push = [&](const std::vector<uint64_t>& ids,
                          const std::vector<uint32_t>& optimizers) {
      Message message = ShardHarness::StepMessage(0, -1);
      *message.header.add_clock() = message.header.clock(0);
      message.header.mutable_clock(1)->set_optimizer(1);
      for (const uint32_t optimizer : optimizers) {
        Segment& segment = *message.header.add_segment();
        segment.set_count(static_cast<uint32_t>(ids.size()));
        segment.set_optimizer(optimizer);
      }
      message.values = Buffer::Of(std::vector<float>(ids.size() * optimizers.size() * kDims[0], 1));
      return message;
    };
    EXPECT_OK_REPLY(shard.Announce(0, 0, both));
    EXPECT_OK_REPLY(shard.Announce(1, 0, one));
    shard.Call(0, push(both.at(0), {0, 1}));
    EXPECT_OK_REPLY(shard.Call(1, push(one.at(0), {lone})));
    for (size_t i = 0; i < expected.size(); ++i) {
      const bool is_lone = all.at(0)[i / kDims[0]] == 3;
      float& w = expected[i];
      if (!is_lone || lone == 0) w -= 0.5f;            // Rate 0.5, gradient 1.
      if (!is_lone || lone == 1) w -= 0.5f * (1 + w);  // And decay.
    }
    EXPECT_THAT(ValuesOf(shard.Pull(0, all)),
                ::testing::Pointwise(::testing::FloatNear(1e-6f), expected));
  }
}

TEST(ShardTest, ASumThatOverflowsReachesNoRow) {
  ShardHarness shard;
  shard.SayHello(HelloFor(TwoTables(), /*workers=*/2));
  const IdsByTable ids = {{0, Sorted({1, 2})}};
  GradientsByTable largest = Ones(ids);
  largest[0].second.assign(8, std::numeric_limits<float>::max());
  for (uint32_t worker = 0; worker < 2; ++worker) shard.Announce(worker, 0, ids);
  shard.Call(0, ShardHarness::StepMessage(0, -1, largest));
  const Message last = shard.Call(1, ShardHarness::StepMessage(0, -1, largest));
  EXPECT_NE(ErrorOf(last).find("not finite"), std::string::npos);
  EXPECT_EQ(shard.Status().rows(), 0u);
}

TEST(ShardTest, GivesUpOnTheMissingAtThePeerLimit) {
  ManualClock clock;
  ShardHarness shard({}, &clock);
  shard.SayHello(HelloFor(TwoTables(), /*workers=*/2));
  shard.Announce(0, 0, {});
  shard.Call(0, ShardHarness::StepMessage(0, -1));
  const Message reply = shard.Tick(0, clock.NowMs() + 5000);
  EXPECT_NE(ErrorOf(reply).find("worker 1"), std::string::npos) << ErrorOf(reply);
  EXPECT_EQ(reply.header.error().code(), static_cast<int>(absl::StatusCode::kDeadlineExceeded));
}

TEST(ShardTest, HelloIsIdempotentAndFenced) {
  ManualClock clock;
  ShardHarness shard({}, &clock);
  const Hello hello = HelloFor(TwoTables());
  EXPECT_OK_REPLY(shard.SayHello(hello, 1, 5));
  OneStep(shard, {{0, Sorted({1})}});
  const Message again = shard.SayHello(hello, 1, 5);
  EXPECT_OK_REPLY(again);
  EXPECT_EQ(again.header.hello_reply().rows(), 1u) << "the same hello must not start anew";

  Hello other = hello;
  other.set_worker_count(2);
  EXPECT_NE(ErrorOf(shard.SayHello(other, 1, 5)).find("something else"), std::string::npos);
  EXPECT_NE(ErrorOf(shard.SayHello(hello, 1, 4)).find("testhost:1"), std::string::npos);
  EXPECT_NE(ErrorOf(shard.SayHello(hello, 2, 9)).find("testhost:1"), std::string::npos);
  clock.SleepMs(5001);  // Nothing was heard of job 1 within its peer limit.
  EXPECT_OK_REPLY(shard.SayHello(hello, 2, 1));
  EXPECT_EQ(shard.Status().rows(), 0u);
  EXPECT_OK_REPLY(shard.SayHello(hello, 2, 2));
  Message late = ShardHarness::IdsMessage(WireHeader::ANNOUNCE, 0, {});
  late.header.set_run_epoch(1);
  late.header.set_sequence(1);
  EXPECT_NE(ErrorOf(shard.Send(0, late)).find("run epoch 1"), std::string::npos);
  EXPECT_EQ(shard.Status().refused_requests(), 4u);
}

// As a client sends it again whose server takes long to load: a map's entries have no order.
TEST(ShardTest, AHelloIsTheSameHoweverItsMapsAreOrdered) {
  ShardHarness shard;
  Hello hello = HelloFor(TwoTables("adam"));
  auto& parameter = *hello.mutable_schema()->mutable_optimizer(0)->mutable_parameter();
  for (const auto& [name, value] : std::map<std::string, double>{
           {"beta1", 0.9}, {"beta2", 0.999}, {"epsilon", 1e-8}, {"l2", 0}}) {
    parameter[name] = value;
  }
  EXPECT_OK_REPLY(shard.SayHello(hello, 1, 5));
  for (int i = 0; i < 20; ++i) {
    Hello again;
    ASSERT_TRUE(again.ParseFromString(hello.SerializeAsString()));
    EXPECT_OK_REPLY(shard.SayHello(again, 1, 5));
  }
}

TEST(ShardTest, RefusesAHelloThatIsNotForIt) {
  ShardOptions options;
  options.shard = 0;
  options.shard_count = 2;
  ShardHarness shard(options);
  EXPECT_NE(ErrorOf(shard.SayHello(HelloFor(TwoTables(), 1, 1, 2))).find("--shard=0/2"),
            std::string::npos);
  for (const auto& spoil : std::vector<std::function<void(Hello&)>>{
           [](Hello& h) { h.set_shard_count(0); }, [](Hello& h) { h.set_worker_count(0); },
           [](Hello& h) { h.set_worker_count(1u << 31); }, [](Hello& h) { h.set_next_step(-1); },
           [](Hello& h) { h.mutable_schema()->mutable_table(1)->set_name("user"); },
           [](Hello& h) { h.mutable_schema()->mutable_table(1)->set_dim(0); },
           [](Hello& h) { h.mutable_schema()->mutable_table(1)->set_optimizer(0, 7); },
           [](Hello& h) { h.mutable_schema()->mutable_optimizer(0)->set_rule("nope"); },
           [](Hello& h) { h.set_checkpoint("/nowhere"); }}) {
    Hello hello = HelloFor(TwoTables(), 1, 0, 2);
    spoil(hello);
    EXPECT_FALSE(ErrorOf(shard.SayHello(hello)).empty());
  }
  EXPECT_OK_REPLY(shard.SayHello(HelloFor(TwoTables(), 1, 0, 2)));
}

TEST(ShardTest, HostileRequestsAreErrorsAndChangeNothing) {
  ShardHarness shard;
  shard.SayHello(HelloFor(TwoTables()));
  const IdsByTable good = {{0, Sorted({1, 2, 3})}};
  OneStep(shard, good);
  const auto before = shard.Digest();
  std::vector<uint64_t> unsorted = Sorted({1, 2, 3});
  std::swap(unsorted[0], unsorted[2]);
  EXPECT_FALSE(ErrorOf(shard.Announce(0, 1, {{0, unsorted}})).empty());
  EXPECT_FALSE(ErrorOf(shard.Announce(0, 1, {{0, {5, 5}}})).empty());
  EXPECT_FALSE(ErrorOf(shard.Announce(0, 1, {{2, {5}}})).empty());
  EXPECT_FALSE(ErrorOf(shard.Announce(0, 0, good)).empty());
  EXPECT_FALSE(ErrorOf(shard.Announce(0, 1000, good)).empty());
  EXPECT_FALSE(ErrorOf(shard.Announce(7, 1, good)).empty());
  EXPECT_FALSE(ErrorOf(shard.Call(0, ShardHarness::StepMessage(1, -1, Ones(good)))).empty())
      << "pushed without an announce";
  EXPECT_FALSE(ErrorOf(shard.Call(0, ShardHarness::StepMessage(-1, 1))).empty());
  Message wrong_count = ShardHarness::IdsMessage(WireHeader::PULL, 0, good);
  wrong_count.header.mutable_segment(0)->set_count(0xFFFFFFFF);
  EXPECT_FALSE(ErrorOf(shard.Call(0, wrong_count)).empty());
  wrong_count.header.mutable_segment(0)->set_count(2);
  EXPECT_FALSE(ErrorOf(shard.Call(0, wrong_count)).empty());
  EXPECT_FALSE(ErrorOf(shard.Call(0, ShardHarness::Kind(WireHeader::WAITING))).empty());

  EXPECT_OK_REPLY(shard.Announce(0, 1, good));
  EXPECT_FALSE(ErrorOf(shard.Announce(0, 1, good)).empty()) << "announced twice";
  const auto refuse = [&](const std::function<void(Message&)>& spoil) {
    Message push = ShardHarness::StepMessage(1, -1, Ones(good));
    spoil(push);
    EXPECT_FALSE(ErrorOf(shard.Call(0, push)).empty());
  };
  refuse([](Message& m) { m.values = Buffer::Of(std::vector<float>(5, 1.0f)); });
  refuse([](Message& m) { m.values = Buffer::Of(std::vector<float>(13, 1.0f)); });
  refuse([](Message& m) { m.header.mutable_segment(0)->set_table(1); });
  refuse([](Message& m) { m.header.mutable_segment(0)->set_optimizer(1); });
  refuse([](Message& m) { m.header.mutable_segment(0)->set_count(2); });
  refuse([](Message& m) { *m.header.add_segment() = m.header.segment(0); });
  refuse([](Message& m) { m.header.clear_clock(); });
  refuse([](Message& m) { m.header.mutable_clock(0)->set_step(0); });
  refuse([](Message& m) { m.header.mutable_clock(0)->set_learning_rate(NAN); });
  refuse([](Message& m) { m.header.set_step(2); });
  refuse([](Message& m) { m.header.set_encoding(WireHeader::BF16); });
  refuse([](Message& m) {
    std::vector<float> values(12, 1.0f);
    values[6] = std::numeric_limits<float>::quiet_NaN();
    m.values = Buffer::Of(std::move(values));
  });
  Message unknown = ShardHarness::Kind(WireHeader::DIGEST);
  unknown.header.set_job_id(77);
  EXPECT_NE(ErrorOf(shard.Send(0, unknown)).find("testhost:1"), std::string::npos);
  EXPECT_EQ(shard.Digest(), before);
  EXPECT_OK_REPLY(shard.Call(0, ShardHarness::StepMessage(1, -1, Ones(good))));
}

TEST(ShardTest, IdsOfOtherShardsAreRefused) {
  ShardHarness shard;
  shard.SayHello(HelloFor(TwoTables(), 1, 1, 2));
  uint64_t low = 1, high = 1;
  while (PartitionOf(low) >= kPartitions / 2) ++low;
  while (PartitionOf(high) < kPartitions / 2) ++high;
  EXPECT_FALSE(ErrorOf(shard.Announce(0, 0, {{0, {low}}})).empty());
  EXPECT_FALSE(ErrorOf(shard.Pull(0, {{0, {low}}})).empty());
  EXPECT_OK_REPLY(shard.Announce(0, 0, {{0, {high}}}));
}

TEST(ShardTest, ShutdownEndsAJobOrTheService) {
  ShardHarness one;
  one.SayHello(HelloFor(TwoTables()));
  EXPECT_OK_REPLY(one.Call(kCoordinatorClient, ShardHarness::Kind(WireHeader::SHUTDOWN)));
  EXPECT_TRUE(one.shard().Done());

  ShardOptions options;
  options.standing = true;
  ShardHarness standing(options);
  standing.SayHello(HelloFor(TwoTables()));
  EXPECT_OK_REPLY(standing.Call(kCoordinatorClient, ShardHarness::Kind(WireHeader::SHUTDOWN)));
  EXPECT_FALSE(standing.shard().Done());
  EXPECT_FALSE(ErrorOf(standing.Announce(0, 0, {})).empty());
  EXPECT_OK_REPLY(standing.SayHello(HelloFor(TwoTables()), 9, 1));
}

}  // namespace
}  // namespace pagoda
