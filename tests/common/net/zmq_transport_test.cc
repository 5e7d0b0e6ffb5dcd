// ShardClient and a handler over real sockets, and what hostile or unlucky peers do to them.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "common/net/client.h"
#include "common/net/endpoint.h"
#include "common/net/transport.h"
#include "common/net/zmq_socket.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagoda {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// Sends every request back as OK; remembers sequences.
class EchoHandler : public Handler {
 public:
  void Handle(const PeerId& from, Message request, Outbox& outbox) override {
    last_sequence = request.header.sequence();
    ++handled;
    if (request.header.kind() == WireHeader::SHUTDOWN) done_ = true;
    request.header.set_kind(WireHeader::OK);
    if (reply_bytes > 0) request.values = Buffer::Of(std::vector<char>(reply_bytes));
    outbox.push_back({from, std::move(request)});
  }
  void Tick(int64_t /*now_ms*/, Outbox& /*outbox*/) override { ++ticks; }
  void CountRefused() override { ++refused; }
  bool Done() const override { return done_; }

  std::atomic<int> handled = 0, ticks = 0, refused = 0;
  std::atomic<uint64_t> last_sequence = 0;
  std::atomic<size_t> reply_bytes = 0;

 private:
  bool done_ = false;
};

// An echo server in a thread of its own.
class EchoServer {
 public:
  explicit EchoServer(const std::string& endpoint) {
    auto server = BindZmqServer(endpoint, "127.0.0.1");
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    thread_ = std::thread([this] { status_ = server_->Serve(handler); });
  }
  ~EchoServer() {
    server_->Stop();
    thread_.join();
    EXPECT_TRUE(status_.ok()) << status_;
  }
  const std::string& endpoint() const { return server_->endpoint(); }
  EchoHandler handler;

 private:
  std::unique_ptr<Server> server_;
  std::thread thread_;
  absl::Status status_;
};

std::unique_ptr<ShardClient> Connect(const std::string& endpoint, int64_t timeout_ms = 10'000) {
  ClientOptions options;
  options.resend_after_ms = 200;
  options.peer_timeout_ms = timeout_ms;
  auto channel = OpenZmqChannel(endpoint);
  EXPECT_TRUE(channel.ok()) << channel.status();
  return std::make_unique<ShardClient>(*std::move(channel), options, Clock::Steady());
}

Message Pull(size_t ids) {
  Message message;
  message.header.set_kind(WireHeader::PULL);
  message.header.add_segment()->set_count(ids);
  std::vector<uint64_t> list(ids);
  for (size_t i = 0; i < ids; ++i) list[i] = i * i;
  message.ids = Buffer::Of(std::move(list));
  message.values = Buffer::Of(std::vector<float>(16 * ids, 0.5f));
  return message;
}

std::string IpcEndpoint() {
  return absl::StrCat("ipc://", testing::TempDir(), "/net_test_", getpid(), ".sock");
}

// Waits for what another thread does, at most 5 s.
template <typename F>
bool Eventually(F is_true) {
  for (int i = 0; i < 500; ++i) {
    if (is_true()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

class ZmqTransportTest : public testing::TestWithParam<const char*> {
 protected:
  std::string Endpoint() const {
    return std::string(GetParam()) == "ipc" ? IpcEndpoint() : "tcp://127.0.0.1:0";
  }
};
INSTANTIATE_TEST_SUITE_P(Kinds, ZmqTransportTest, testing::Values("tcp", "ipc"));

TEST_P(ZmqTransportTest, CarriesMessagesOfAllSizesUnchanged) {
  EchoServer server(Endpoint());
  auto client = Connect(server.endpoint());
  for (size_t ids : {0, 1, 3, 100, 1'000, 10'000, 500'000}) {
    const Message sent = Pull(ids);
    const auto got = client->Call(sent);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(Ids(*got), Ids(sent));
    EXPECT_EQ(Values(*got), Values(sent));
  }
  EXPECT_EQ(server.handler.refused, 0);
}

TEST(ZmqLocalTest, OneServerAnswersByTcpByALocalNameAndInItsProcess) {
  const auto context = MakeZmqContext();
  auto server = BindZmqServer("tcp://127.0.0.1:0", "", context);
  ASSERT_TRUE(server.ok()) << server.status();
  const auto local = (*server)->ListenLocally();
  ASSERT_TRUE(local.ok()) << local.status();
  auto in_process = (*server)->Connect();
  ASSERT_TRUE(in_process.ok()) << in_process.status();
  EchoHandler handler;
  absl::Status served;
  std::thread thread([&] { served = (*server)->Serve(handler); });
  auto far = OpenZmqChannel((*server)->endpoint(), context), near = OpenZmqChannel(*local, context);
  EXPECT_THAT(*local, testing::EndsWith((*near)->peer()));
  for (auto* channel : {&far, &near, &in_process}) {
    ASSERT_TRUE(channel->ok()) << channel->status();
    ClientOptions options;
    options.peer_timeout_ms = 10'000;
    ShardClient client(*std::move(*channel), options, Clock::Steady());
    for (size_t ids : {0, 1, 10'000}) {
      const Message sent = Pull(ids);
      const auto got = client.Call(sent);
      ASSERT_TRUE(got.ok()) << got.status();
      EXPECT_EQ(Values(*got), Values(sent));
    }
  }
  (*server)->Stop();
  thread.join();
  EXPECT_TRUE(served.ok()) << served;
  EXPECT_EQ(handler.handled, 9);
}

TEST_P(ZmqTransportTest, BuffersAreReleasedOnceTheyHaveLeft) {
  EchoServer server(Endpoint());
  auto client = Connect(server.endpoint());
  Message request = Pull(10'000);
  const std::weak_ptr<const void> owner = request.values.owner();
  ASSERT_TRUE(client->Call(std::move(request)).ok());
  EXPECT_TRUE(Eventually([&] { return owner.expired(); }));
}

TEST_P(ZmqTransportTest, ARestartedServerGetsTheSameSequenceAgain) {
  auto server = std::make_unique<EchoServer>(Endpoint());
  const std::string endpoint = server->endpoint();
  auto client = Connect(endpoint);
  ASSERT_TRUE(client->Call(Pull(1)).ok());
  server.reset();
  const uint64_t sequence = *client->Start(Pull(2));
  std::thread restart([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    server = std::make_unique<EchoServer>(endpoint);
  });
  const auto reply = client->Await(sequence);
  restart.join();
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(server->handler.last_sequence, 2u);
}

TEST_P(ZmqTransportTest, ManyClientsInFlight) {
  EchoServer server(Endpoint());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      auto client = Connect(server.endpoint());
      std::vector<uint64_t> sequences;
      for (int round = 0; round < 20; ++round) {
        for (int i = 0; i < ShardClient::kMaxInFlight; ++i) {
          sequences.push_back(*client->Start(Pull(i * 10)));
        }
        for (; !sequences.empty(); sequences.pop_back()) {
          const auto reply = client->Await(sequences.back());
          ASSERT_TRUE(reply.ok()) << reply.status();
          EXPECT_EQ(reply->header.sequence(), sequences.back());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(ZmqTransportTest, ATakenAddressIsNamed) {
  EchoServer server(Endpoint());
  const auto second = BindZmqServer(server.endpoint(), "");
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr(absl::StrCat("listen ", server.endpoint(), ": address already in use")));
  EXPECT_TRUE(Connect(server.endpoint())->Call(Pull(1)).ok()) << "the first one still serves";
}

TEST(ZmqServerTest, ShutdownIsAnsweredBeforeTheServerLeaves) {
  auto server = std::make_unique<EchoServer>("tcp://127.0.0.1:0");
  auto client = Connect(server->endpoint());
  Message request;
  request.header.set_kind(WireHeader::SHUTDOWN);
  const uint64_t sequence = *client->Start(std::move(request));
  ASSERT_TRUE(Eventually([&] { return server->handler.handled > 0; }));
  server.reset();
  EXPECT_TRUE(client->Await(sequence).ok());
}

TEST(ZmqServerTest, TicksWhileNothingComes) {
  EchoServer server("tcp://127.0.0.1:0");
  EXPECT_TRUE(Eventually([&] { return server.handler.ticks >= 3; }));
}

TEST(ZmqServerTest, StopBeforeServeServesNothing) {
  auto server = BindZmqServer("tcp://127.0.0.1:0", "");
  ASSERT_TRUE(server.ok());
  (*server)->Stop();
  EchoHandler handler;
  EXPECT_TRUE((*server)->Serve(handler).ok());
}

TEST(ZmqServerTest, WildcardsBecomeAnAddressThatLeadsHere) {
  auto named = BindZmqServer("tcp://*:0", "box.example");
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_THAT((*named)->endpoint(), StartsWith("tcp://box.example:"));
  auto unnamed = BindZmqServer("tcp://0.0.0.0:0", "");
  ASSERT_TRUE(unnamed.ok()) << unnamed.status();
  EXPECT_TRUE(ResolveHost(ParseEndpoint((*unnamed)->endpoint())->host).ok());
  EXPECT_GT(ParseEndpoint((*unnamed)->endpoint())->port, 0);
}

TEST(ZmqServerTest, AReplyPastTheCapBecomesAnError) {
  EchoServer server("tcp://127.0.0.1:0");
  server.handler.reply_bytes = kMaxFrameBytes + 8;
  const auto reply = Connect(server.endpoint())->Call(Pull(1));
  EXPECT_TRUE(absl::IsInvalidArgument(reply.status()));
  EXPECT_THAT(std::string(reply.status().message()), HasSubstr("is larger than"));
}

TEST(ZmqChannelTest, ADeadAddressEndsAtTheDeadlineNamed) {
  const auto reply = Connect("tcp://127.0.0.1:1", 300)->Call(Pull(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(reply.status()));
  EXPECT_THAT(std::string(reply.status().message()),
              HasSubstr("tcp://127.0.0.1:1: no answer in 300 ms"));
}

TEST(ZmqChannelTest, ARequestPastTheCapFailsAtOnce) {
  Message request;
  request.header.set_kind(WireHeader::PULL);
  request.values = Buffer::Of(std::vector<char>(kMaxFrameBytes + 8));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Connect("tcp://127.0.0.1:1")->Start(std::move(request)).status()));
}

// Raw frames, as a peer that is not ours could send them.
class HostilePeerTest : public testing::Test {
 protected:
  // What SendFrames never would.
  void SendRaw(const std::vector<std::string>& frames) {
    for (size_t i = 0; i < frames.size(); ++i) {
      const bool is_last = i + 1 == frames.size();
      socket_.send(zmq::buffer(frames[i]),
                   is_last ? zmq::send_flags::none : zmq::send_flags::sndmore);
    }
  }
  void ExpectStillServing() { EXPECT_TRUE(Connect(server_.endpoint())->Call(Pull(10)).ok()); }

  EchoServer server_{"tcp://127.0.0.1:0"};
  ZmqContext context_;
  zmq::socket_t socket_ = *MakeSocket(context_, zmq::socket_type::dealer, 0);
};

TEST_F(HostilePeerTest, OtherNumbersOfFramesAndGarbageAreCountedAndDropped) {
  socket_.connect(server_.endpoint());
  SendRaw({""});
  SendRaw({"one"});
  SendRaw({"one", "two"});
  SendRaw({"one", "two", "three"});
  SendRaw({"one", "two", "three", "four"});
  SendRaw(std::vector<std::string>(1'000, "many"));
  EXPECT_TRUE(Eventually([&] { return server_.handler.refused == 6; }));
  EXPECT_EQ(server_.handler.handled, 0);
  ExpectStillServing();
}

TEST_F(HostilePeerTest, AnotherVersionIsAnsweredWithOurs) {
  socket_.connect(server_.endpoint());
  WireHeader header;
  header.set_protocol_version(9);
  Frames frames = Encode(Message{header, Buffer(), Buffer()});
  // Encode sets our version; field 1 is the first: tag 0x08, then the number.
  std::string text(reinterpret_cast<const char*>(frames.header.data()), frames.header.size() - 8);
  ASSERT_EQ(text.substr(0, 2), (std::string{8, static_cast<char>(kProtocolVersion)}));
  text[1] = 9;
  const uint64_t checksum = HashBytes(text);
  text.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  SendRaw({text, "", ""});
  absl::StatusOr<Frames> reply = absl::UnknownError("");
  ASSERT_TRUE(Eventually([&] { return (reply = ReceiveFrames(socket_, nullptr)).ok(); }));
  const auto message = Decode(*reply);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_THAT(message->header.error().message(),
              HasSubstr(absl::StrCat("version 9 of the peer, ours is ", kProtocolVersion)));
}

TEST_F(HostilePeerTest, AFramePastTheCapEndsTheConnectionOnly) {
  socket_.connect(server_.endpoint());
  zmq::message_t huge(kMaxFrameBytes + 1);
  socket_.send(huge, zmq::send_flags::none);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  ExpectStillServing();
  EXPECT_EQ(server_.handler.handled, 1);
}

TEST_F(HostilePeerTest, RawBytesOnTheSocketDoNoHarm) {
  const auto endpoint = *ParseEndpoint(server_.endpoint());
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(endpoint.port);
  inet_pton(AF_INET, endpoint.host.c_str(), &address.sin_addr);
  // A ZMTP greeting followed by a long frame that claims 8 EiB; HTTP; zeros.
  const std::string greeting = std::string("\xFF\0\0\0\0\0\0\0\0\x7F\3\0NULL", 16);
  const std::string claim = std::string("\2\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 9);
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(10'000, '\0'),
        greeting + std::string(48, '\0') + claim, std::string(10'000, '\xFF')}) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_GT(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), 0);
    close(fd);
  }
  ExpectStillServing();
}

TEST(EndpointTest, ParsesWhatPeopleWrite) {
  EXPECT_EQ(ParseEndpoint("host1:7000")->ToString(), "tcp://host1:7000");
  EXPECT_EQ(ParseEndpoint("tcp://10.0.0.1:7000")->host, "10.0.0.1");
  EXPECT_EQ(ParseEndpoint("tcp://*:*")->port, 0);
  EXPECT_TRUE(ParseEndpoint("tcp://0.0.0.0:7000")->HasWildcardHost());
  EXPECT_EQ(ParseEndpoint("ipc:///tmp/x")->path, "/tmp/x");
  for (const char* wrong : {"", "host", "tcp://host", "tcp://:7000", "udp://host:1", "host:x",
                            "host:70000", "host:-1", "host:", "a:b:1", "ipc://"}) {
    const absl::Status status = ParseEndpoint(wrong).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << wrong;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("\"", wrong, "\"")));
  }
  EXPECT_FALSE(ParseEndpoint(absl::StrCat("ipc://", std::string(200, 'x'))).ok());
  EXPECT_FALSE(ParseEndpoint("ipc://*").ok());
}

TEST(EndpointTest, ANameThatDoesNotResolveIsNamed) {
  const auto channel = OpenZmqChannel("tcp://no-such-host.invalid:7000");
  EXPECT_TRUE(absl::IsUnavailable(channel.status()));
  EXPECT_THAT(std::string(channel.status().message()),
              HasSubstr("host name \"no-such-host.invalid\" does not resolve"));
  EXPECT_FALSE(BindZmqServer("tcp://no-such-host.invalid:0", "").ok());
  EXPECT_TRUE(absl::IsInvalidArgument(OpenZmqChannel("tcp://*:7000").status()));
}

}  // namespace
}  // namespace pagoda
