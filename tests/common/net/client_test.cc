// ShardClient over a channel and a clock that the test owns: no real waiting.
#include "common/net/client.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagoda {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FakeClock : public Clock {
 public:
  int64_t NowMs() const override { return now_ms; }
  void SleepMs(int64_t duration_ms) override { now_ms += duration_ms; }
  int64_t now_ms = 1'000;
};

// Replies are due at a time; receiving advances the clock to the next one or by the time-out.
struct Network {
  FakeClock clock;
  std::multimap<int64_t, Message> due;
  std::vector<WireHeader> sent;
  std::function<void(const Message&, Network&)> on_send;

  void Reply(uint64_t sequence, WireHeader::Kind kind, int64_t after_ms, int64_t step = 0) {
    Message message;
    message.header.set_kind(kind);
    message.header.set_sequence(sequence);
    message.header.set_step(step);
    due.emplace(clock.now_ms + after_ms, std::move(message));
  }
};

class FakeChannel : public Channel {
 public:
  explicit FakeChannel(Network* network) : network_(network) {}
  absl::Status Send(const Message& message) override {
    network_->sent.push_back(message.header);
    if (network_->on_send) network_->on_send(message, *network_);
    return send_status;
  }
  absl::StatusOr<Message> Receive(int64_t timeout_ms) override {
    const auto next = network_->due.begin();
    const int64_t until_ms = network_->clock.now_ms + timeout_ms;
    if (next == network_->due.end() || next->first > until_ms) {
      network_->clock.now_ms = until_ms;
      return absl::DeadlineExceededError("nothing");
    }
    network_->clock.now_ms = std::max(network_->clock.now_ms, next->first);
    Message message = std::move(next->second);
    network_->due.erase(next);
    return message;
  }
  const std::string& peer() const override { return peer_; }
  absl::Status send_status;

 private:
  Network* const network_;
  const std::string peer_ = "tcp://far:7000";
};

class ClientTest : public testing::Test {
 protected:
  static ClientOptions Options() {
    ClientOptions options;
    options.job_id = 5;
    options.run_epoch = 2;
    options.client_id = 3;
    return options;
  }
  static Message Pull(int64_t step) {
    Message request;
    request.header.set_kind(WireHeader::STEP);
    request.header.set_has_pull(true);
    request.header.set_pull_step(step);
    return request;
  }
  // Says that the workers `missing` have not pushed step 17.
  void Wait(uint64_t sequence, int64_t after_ms, std::vector<uint32_t> missing) {
    Message message;
    message.header.set_kind(WireHeader::WAITING);
    message.header.set_sequence(sequence);
    message.header.mutable_waiting()->set_step(17);
    for (uint32_t client : missing) message.header.mutable_waiting()->add_missing_client(client);
    network_.due.emplace(network_.clock.now_ms + after_ms, std::move(message));
  }
  std::vector<uint64_t> SentSequences() const {
    std::vector<uint64_t> sequences;
    for (const WireHeader& header : network_.sent) sequences.push_back(header.sequence());
    return sequences;
  }

  Network network_;
  FakeChannel* channel_ = new FakeChannel(&network_);
  ShardClient client_{std::unique_ptr<Channel>(channel_), Options(), &network_.clock};
};

TEST_F(ClientTest, StampsRequestsAndCountsSequences) {
  network_.on_send = [](const Message& m, Network& n) {
    n.Reply(m.header.sequence(), WireHeader::OK, 1, m.header.pull_step());
  };
  for (int64_t step : {1, 2}) {
    const auto reply = client_.Call(Pull(step));
    ASSERT_TRUE(reply.ok()) << reply.status();
    EXPECT_EQ(reply->header.step(), step);
  }
  EXPECT_THAT(SentSequences(), ElementsAre(1, 2));
  EXPECT_EQ(network_.sent[1].job_id(), 5u);
  EXPECT_EQ(network_.sent[1].run_epoch(), 2u);
  EXPECT_EQ(network_.sent[1].client_id(), 3u);
}

TEST_F(ClientTest, ALostRequestIsSentAgainWithTheSameSequence) {
  network_.on_send = [](const Message& m, Network& n) {
    if (n.sent.size() == 3) n.Reply(m.header.sequence(), WireHeader::OK, 1);
  };
  EXPECT_TRUE(client_.Call(Pull(1)).ok());
  EXPECT_THAT(SentSequences(), ElementsAre(1, 1, 1));
  EXPECT_EQ(network_.clock.now_ms, 1'000 + 2 * 2'000 + 1);
}

TEST_F(ClientTest, DuplicatedReorderedAndLateRepliesReachTheirRequestsOnce) {
  const uint64_t a = *client_.Start(Pull(1));
  const uint64_t b = *client_.Start(Pull(2));
  const uint64_t c = *client_.Start(Pull(3));
  network_.Reply(c, WireHeader::OK, 10, 30);
  network_.Reply(a, WireHeader::OK, 11, 10);
  network_.Reply(a, WireHeader::OK, 12, 99);
  network_.Reply(77, WireHeader::OK, 13, 99);  // Of nobody.
  network_.Reply(c, WireHeader::ERROR, 14, 99);
  network_.Reply(b, WireHeader::OK, 15, 20);
  EXPECT_EQ(client_.Await(b)->header.step(), 20);
  EXPECT_EQ(client_.Await(a)->header.step(), 10);
  network_.Reply(b, WireHeader::OK, 0, 99);
  EXPECT_EQ(client_.Await(c)->header.step(), 30);
  EXPECT_THAT(SentSequences(), ElementsAre(1, 2, 3));
}

TEST_F(ClientTest, OthersInFlightAreResentWhileOneIsAwaited) {
  const uint64_t a = *client_.Start(Pull(1));
  const uint64_t b = *client_.Start(Pull(2));
  network_.Reply(a, WireHeader::OK, 2'500);
  ASSERT_TRUE(client_.Await(a).ok());
  EXPECT_THAT(SentSequences(), ElementsAre(1, 2, 1, 2));
  network_.Reply(b, WireHeader::OK, 1);
  EXPECT_TRUE(client_.Await(b).ok());
}

TEST_F(ClientTest, TheDeadlineNamesRequestAndPeer) {
  const auto reply = client_.Call(Pull(18));
  EXPECT_TRUE(absl::IsDeadlineExceeded(reply.status()));
  EXPECT_THAT(std::string(reply.status().message()),
              HasSubstr("pull of step 18, shard tcp://far:7000: no answer in 30000 ms"));
  EXPECT_EQ(network_.clock.now_ms, 31'000);
  // Failed requests do not count as in flight.
  for (int i = 0; i < 2 * ShardClient::kMaxInFlight; ++i) EXPECT_FALSE(client_.Call(Pull(1)).ok());
}

TEST_F(ClientTest, AReplyThatCameWhileNobodyListenedCounts) {
  const uint64_t a = *client_.Start(Pull(1));
  network_.Reply(a, WireHeader::OK, 10);
  network_.clock.now_ms += 100'000;
  EXPECT_TRUE(client_.Await(a).ok());
  EXPECT_THAT(SentSequences(), ElementsAre(1));
}

TEST_F(ClientTest, ALossWhileNobodyListenedIsRepaired) {
  const uint64_t a = *client_.Start(Pull(1));
  network_.clock.now_ms += 100'000;
  network_.on_send = [](const Message& m, Network& n) {
    n.Reply(m.header.sequence(), WireHeader::OK, 1);
  };
  EXPECT_TRUE(client_.Await(a).ok());
  EXPECT_THAT(SentSequences(), ElementsAre(1, 1));
}

TEST_F(ClientTest, WaitingRenewsTheDeadlineAndNeedsNoResend) {
  const uint64_t a = *client_.Start(Pull(18));
  for (int s = 1; s <= 60; ++s) Wait(a, 1'000 * s, {3});
  network_.Reply(a, WireHeader::OK, 61'500);
  EXPECT_TRUE(client_.Await(a).ok());
  EXPECT_THAT(SentSequences(), ElementsAre(1));
}

TEST_F(ClientTest, ThePatienceWithMissingWorkersEndsAndNamesThem) {
  const uint64_t a = *client_.Start(Pull(18));
  for (int s = 1; s <= 200; ++s) Wait(a, 1'000 * s, {3, 5});
  const absl::Status status = client_.Await(a).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("worker 3, 5 has not pushed step 17 for 120 s (shard tcp://far:7000 is "
                        "waiting for it)"));
  EXPECT_EQ(network_.clock.now_ms, 121'000);
}

TEST_F(ClientTest, APeerThatFallsSilentAfterWaitingIsBlamedItself) {
  const uint64_t a = *client_.Start(Pull(18));
  Wait(a, 1'000, {3});
  const absl::Status status = client_.Await(a).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("tcp://far:7000: no answer in 30000 ms"));
  EXPECT_EQ(network_.clock.now_ms, 1'000 + 1'000 + 30'000);
}

TEST_F(ClientTest, AnErrorReplyKeepsItsCodeAndNamesThePeer) {
  for (const auto& [code, expected] :
       {std::pair(8, absl::StatusCode::kResourceExhausted),
        std::pair(0, absl::StatusCode::kUnknown), std::pair(-7, absl::StatusCode::kUnknown),
        std::pair(99, absl::StatusCode::kUnknown)}) {
    network_.on_send = [code = code](const Message& m, Network& n) {
      n.Reply(m.header.sequence(), WireHeader::ERROR, 1);
      n.due.rbegin()->second.header.mutable_error()->set_code(code);
      n.due.rbegin()->second.header.mutable_error()->set_message("table full");
    };
    const absl::Status status = client_.Call(Pull(4)).status();
    EXPECT_EQ(status.code(), expected);
    EXPECT_EQ(status.message(), "pull of step 4, shard tcp://far:7000: table full");
  }
}

TEST_F(ClientTest, AFullQueueIsRetriedAndAnotherFailureIsNot) {
  channel_->send_status = absl::UnavailableError("queue full");
  network_.on_send = [this](const Message& m, Network& n) {
    if (n.sent.size() < 2) return;
    channel_->send_status = absl::OkStatus();
    n.Reply(m.header.sequence(), WireHeader::OK, 1);
  };
  EXPECT_TRUE(client_.Call(Pull(1)).ok());
  channel_->send_status = absl::InvalidArgumentError("frame too large");
  network_.on_send = nullptr;
  EXPECT_TRUE(absl::IsInvalidArgument(client_.Call(Pull(1)).status()));
}

TEST_F(ClientTest, AFloodOfStrayRepliesDoesNotHideTheDeadline) {
  network_.on_send = [](const Message&, Network& n) {
    if (n.sent.size() > 1) return;
    for (int i = 0; i < 40'000; ++i) n.Reply(1'000 + i, WireHeader::OK, i);
  };
  EXPECT_TRUE(absl::IsDeadlineExceeded(client_.Call(Pull(1)).status()));
  EXPECT_LT(network_.clock.now_ms, 33'000);
}

TEST_F(ClientTest, TooManyInFlightIsABug) {
  for (int i = 0; i < ShardClient::kMaxInFlight; ++i) ASSERT_TRUE(client_.Start(Pull(i)).ok());
  EXPECT_DEATH(client_.Start(Pull(9)).IgnoreError(), "await some first");
}

TEST_F(ClientTest, AwaitingTwiceIsABug) {
  const uint64_t a = *client_.Start(Pull(1));
  network_.Reply(a, WireHeader::OK, 1);
  ASSERT_TRUE(client_.Await(a).ok());
  EXPECT_DEATH(client_.Await(a).IgnoreError(), "nothing to await");
}

}  // namespace
}  // namespace pagoda
