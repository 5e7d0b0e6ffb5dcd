#include "common/net/ring.h"

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "common/net/client.h"
#include "common/net/zmq_socket.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagoda {
namespace {

Frames Sample(size_t ids) {
  Message message;
  message.header.set_kind(WireHeader::PULL);
  message.header.add_segment()->set_count(static_cast<uint32_t>(ids));
  std::vector<uint64_t> numbers(ids);
  for (size_t i = 0; i < ids; ++i) numbers[i] = i * i;
  if (ids > 0) message.ids = Buffer::Of(std::move(numbers));
  return Encode(std::move(message));
}

// Sends back what came, as OK, and counts which way.
class Echo : public Handler {
 public:
  void Handle(const PeerId& from, Message request, Outbox& outbox) override {
    ++(RingServer::IsPeer(from) ? by_ring : by_socket);
    request.header.set_kind(WireHeader::OK);
    outbox.push_back({from, std::move(request)});
  }
  void Tick(int64_t, Outbox&) override {}
  void CountRefused() override { ++refused; }
  bool Done() const override { return false; }
  std::atomic<int> by_ring{0}, by_socket{0}, refused{0};
};

class RingTest : public testing::Test {
 protected:
  RingTest() : ring_(std::make_unique<Ring>()), writer_(ring_.get()), reader_(ring_.get()) {}
  std::unique_ptr<Ring> ring_;
  RingWriter writer_;
  RingReader reader_;
};

TEST_F(RingTest, MessagesOfAnySizePassInOrder) {
  // 100,000 ids are many times the ring.
  const std::vector<size_t> sizes = {0, 1, 7, 1000, kRingBytes / 8, 100'000, 0, 3};
  for (int round = 0; round < 3; ++round) {
    for (const size_t size : sizes) ASSERT_TRUE(writer_.Push(Sample(size)));
    for (const size_t size : sizes) {
      absl::StatusOr<Frames> frames = absl::DeadlineExceededError("");
      while (absl::IsDeadlineExceeded(frames.status())) {
        writer_.Pump();
        frames = reader_.Next();
      }
      ASSERT_TRUE(frames.ok()) << frames.status();
      const auto message = Decode(*frames);  // Checksums: every byte is as it was.
      ASSERT_TRUE(message.ok()) << message.status();
      ASSERT_EQ(Ids(*message).size(), size);
    }
    EXPECT_FALSE(writer_.has_unsent());
    EXPECT_TRUE(reader_.IsEmpty());
  }
}

TEST_F(RingTest, TheQueueOfAReaderThatSleepsIsBounded) {
  int taken = 0;
  while (taken < 1000 && writer_.Push(Sample(10'000))) {
    writer_.Pump();
    ++taken;
  }
  EXPECT_EQ(taken, 64);
}

TEST_F(RingTest, HostileSizesAndCountersAreErrors) {
  const uint64_t sizes[3] = {8, kMaxFrameBytes + 1, 0};
  std::memcpy(ring_->bytes, sizes, sizeof(sizes));
  ring_->written = sizeof(sizes);
  EXPECT_TRUE(absl::IsDataLoss(reader_.Next().status()));
  EXPECT_TRUE(absl::IsDeadlineExceeded(reader_.Next().status()));  // Never again.
  reader_.Clear();
  ring_->written = ring_->read + kRingBytes + 1;
  EXPECT_TRUE(absl::IsDataLoss(reader_.Next().status()));
  ring_->written = 0;
  ring_->read = 1;  // "Read" what was not written.
  EXPECT_TRUE(writer_.Push(Sample(1)));
  EXPECT_FALSE(writer_.Pump());
}

class RingServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = BindZmqServer("tcp://127.0.0.1:0", "");
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    const auto local = server_->ListenLocally();
    ASSERT_TRUE(local.ok()) << local.status();
    local_ = *local;
    thread_ = std::thread([this] { served_ = server_->Serve(echo_); });
  }
  void TearDown() override {
    server_->Stop();
    thread_.join();
    EXPECT_TRUE(served_.ok()) << served_;
  }
  static Message Request(size_t ids) { return *Decode(Sample(ids)); }
  static ClientOptions Options() {
    ClientOptions options;
    options.peer_timeout_ms = 20'000;
    options.resend_after_ms = 20'000;  // Whatever is lost is seen.
    return options;
  }
  ShardClient Open() {
    auto channel = OpenZmqChannel(local_);
    EXPECT_TRUE(channel.ok()) << channel.status();
    return ShardClient(*std::move(channel), Options(), Clock::Steady());
  }

  Echo echo_;
  absl::Status served_;
  std::unique_ptr<Server> server_;
  std::string local_;
  std::thread thread_;
};

TEST_F(RingServerTest, ManyClientsAtOnceLoseNothing) {
  ASSERT_TRUE(absl::StartsWith(local_, kRingScheme));
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([this, t] {
      ShardClient client = Open();
      for (int round = 0; round < 200; ++round) {
        std::vector<uint64_t> sequences;
        const size_t ids = round % 50 == 0 ? 60'000 : round * t;
        for (int i = 0; i < 4; ++i) sequences.push_back(*client.Start(Request(ids + i)));
        for (int i = 0; i < 4; ++i) {
          const auto reply = client.Await(sequences[i]);
          ASSERT_TRUE(reply.ok()) << reply.status();
          ASSERT_EQ(Ids(*reply).size(), ids + i);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(echo_.by_ring, 6 * 200 * 4);
  EXPECT_EQ(echo_.by_socket, 0);
}

TEST_F(RingServerTest, SlotsOfThoseWhoLeftAreUsedAgain) {
  for (int i = 0; i < 2 * kRingSlots; ++i) {
    ShardClient client = Open();
    ASSERT_TRUE(client.Start(Request(20'000)).ok());  // Leaves before its reply.
    ASSERT_TRUE(client.Call(Request(3)).ok());
  }
  EXPECT_EQ(echo_.by_ring, 2 * 2 * kRingSlots);
  EXPECT_EQ(echo_.by_socket, 0);
}

TEST_F(RingServerTest, WithoutASlotOrTheMemoryItIsTheSocket) {
  std::vector<std::unique_ptr<Channel>> channels;
  for (int i = 0; i < kRingSlots + 1; ++i) {
    auto channel = OpenZmqChannel(local_);
    ASSERT_TRUE(channel.ok()) << channel.status();
    channels.push_back(*std::move(channel));
  }
  ShardClient last(std::move(channels.back()), Options(), Clock::Steady());
  EXPECT_TRUE(last.Call(Request(3)).ok());
  auto elsewhere =
      OpenZmqChannel("ring:1/2/pagoda-0/3" + local_.substr(local_.find(std::string(kRingElse))));
  ASSERT_TRUE(elsewhere.ok()) << elsewhere.status();
  ShardClient client(*std::move(elsewhere), Options(), Clock::Steady());
  EXPECT_TRUE(client.Call(Request(3)).ok());
  EXPECT_EQ(echo_.by_socket, 2);
}

// The first client of slot 0 is 0 | slot | generation, eight bytes of zero behind a zero.
TEST_F(RingServerTest, ASocketWithTheNameOfARingIsNotHeard) {
  ShardClient victim = Open();
  ASSERT_TRUE(victim.Call(Request(3)).ok());
  ASSERT_EQ(echo_.by_ring, 1);
  zmq::context_t context;
  zmq::socket_t intruder(context, zmq::socket_type::dealer);
  intruder.set(zmq::sockopt::linger, 0);
  intruder.set(zmq::sockopt::routing_id, std::string(9, '\0'));
  intruder.connect(server_->endpoint());
  // As the victim's next: the reply would pass for its own.
  Message message = Request(5);
  message.header.set_sequence(2);
  ASSERT_TRUE(SendFrames(intruder, PeerId(), Encode(std::move(message))).ok());
  const Deadline deadline = Deadline::After(*Clock::Steady(), 5'000);
  while (echo_.refused == 0 && !deadline.Passed(*Clock::Steady())) Clock::Steady()->SleepMs(5);
  EXPECT_EQ(echo_.refused, 1);
  const auto reply = victim.Call(Request(3));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(Ids(*reply).size(), 3u);
  EXPECT_EQ(echo_.by_socket + echo_.by_ring, 2);
}

}  // namespace
}  // namespace pagoda
