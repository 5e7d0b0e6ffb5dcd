#include <string>

#include "common/net/transport.h"
#include "gtest/gtest.h"

namespace pagoda {
namespace {

// Answers a PULL at once; a STEP only when the next one comes, from whomever.
class HoldingHandler : public Handler {
 public:
  void Handle(const PeerId& from, Message request, Outbox& outbox) override {
    EXPECT_EQ(request.header.protocol_version(), kProtocolVersion);
    request.header.clear_protocol_version();
    if (request.header.kind() == WireHeader::STEP) {
      if (!held_.empty()) outbox.push_back(std::move(held_.back()));
      held_.clear();
      held_.push_back({from, std::move(request)});
    } else {
      outbox.push_back({from, std::move(request)});
    }
  }
  void Tick(int64_t /*now_ms*/, Outbox& outbox) override {
    for (Outgoing& held : held_) outbox.push_back({held.to, held.message});
    ++ticks;
  }
  void CountRefused() override {}
  bool Done() const override { return false; }
  int ticks = 0;

 private:
  Outbox held_;
};

Message Request(WireHeader::Kind kind, uint64_t sequence) {
  Message message;
  message.header.set_kind(kind);
  message.header.set_sequence(sequence);
  return message;
}

TEST(InProcessChannelTest, AnswersInTheCallersThreadInOrder) {
  HoldingHandler handler;
  auto channel = OpenInProcessChannel(&handler, "shard 3 in this process");
  EXPECT_EQ(channel->peer(), "shard 3 in this process");
  for (uint64_t i : {1, 2}) ASSERT_TRUE(channel->Send(Request(WireHeader::PULL, i)).ok());
  for (uint64_t i : {1, 2}) {
    const auto reply = channel->Receive(0);
    ASSERT_TRUE(reply.ok());
    EXPECT_EQ(reply->header.sequence(), i);
    EXPECT_EQ(reply->header.protocol_version(), kProtocolVersion);
  }
  EXPECT_EQ(handler.ticks, 0);
  EXPECT_TRUE(absl::IsDeadlineExceeded(channel->Receive(1).status()));
}

TEST(InProcessChannelTest, OneClientsRequestReleasesAnothersReply) {
  HoldingHandler handler;
  InProcessHub hub(&handler);
  auto a = hub.Open("a");
  auto b = hub.Open("b");
  ASSERT_TRUE(a->Send(Request(WireHeader::STEP, 1)).ok());
  ASSERT_TRUE(b->Send(Request(WireHeader::STEP, 2)).ok());
  EXPECT_EQ(a->Receive(0)->header.sequence(), 1u);
  EXPECT_EQ(b->Receive(0)->header.sequence(), 2u) << "by a tick";
}

TEST(InProcessChannelTest, RepliesToAClosedChannelAreDropped) {
  HoldingHandler handler;
  InProcessHub hub(&handler);
  auto a = hub.Open("a");
  auto b = hub.Open("b");
  ASSERT_TRUE(a->Send(Request(WireHeader::STEP, 1)).ok());
  a.reset();
  ASSERT_TRUE(b->Send(Request(WireHeader::STEP, 2)).ok());
  EXPECT_EQ(b->Receive(0)->header.sequence(), 2u);
}

}  // namespace
}  // namespace pagoda
