#include "common/net/frames.h"

#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace pagoda {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::ElementsAre;
using testing::HasSubstr;

// Every part that a message can have; fixed for ever: tests/golden/wire-v5 holds its bytes.
Message Sample() {
  Message message;
  WireHeader& header = message.header;
  header.set_kind(WireHeader::STEP);
  header.set_job_id(0x0102030405060708);
  header.set_run_epoch(3);
  header.set_client_id(kCoordinatorClient);
  header.set_sequence(41);
  header.set_step(17);
  header.set_has_push(true);
  header.set_has_pull(true);
  header.set_pull_step(18);
  for (uint32_t table : {0, 2}) {
    Segment* segment = header.add_segment();
    segment->set_table(table);
    segment->set_optimizer(table / 2);
    segment->set_count(table + 1);
    segment->set_task(table / 2);
  }
  header.set_task_count(2);
  header.add_coefficient(0.5);
  header.add_coefficient(-1.25);
  header.set_absent("\x05");
  header.set_has_announce(true);
  header.set_announce_step(19);
  for (uint32_t table : {0, 3}) {
    Segment* segment = header.add_announced();
    segment->set_table(table);
    segment->set_count(table / 3 * 2 + 1);
  }
  OptimizerClock* clock = header.add_clock();
  clock->set_step(18);
  clock->set_learning_rate(0.125);
  OptimizerSchema* optimizer = header.mutable_hello()->mutable_schema()->add_optimizer();
  optimizer->set_name("main");
  optimizer->set_rule("ADAM");
  for (const char* name : {"epsilon", "beta2", "beta1"})
    (*optimizer->mutable_parameter())[name] = 1;
  message.ids = Buffer::Of(std::vector<uint64_t>{1, 0xFFFFFFFFFFFFFFFF, 3, 4});
  message.values = Buffer::Of(std::vector<float>{1.5f, -2.0f, 0.0f});
  return message;
}

std::string Text(const Buffer& buffer) {
  return std::string(reinterpret_cast<const char*>(buffer.data()), buffer.size());
}
Buffer FromText(const std::string& text) {
  return Buffer::Of(std::vector<char>(text.begin(), text.end()));
}

// A header with a right checksum, whatever it says.
Buffer Sealed(const WireHeader& header) {
  std::string text = header.SerializeAsString();
  const uint64_t checksum = HashBytes(text);
  text.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  return FromText(text);
}

void ExpectEqual(const Message& a, const Message& b) {
  WireHeader expected = a.header;
  expected.set_protocol_version(b.header.protocol_version());
  expected.set_ids_checksum(b.header.ids_checksum());
  expected.set_values_checksum(b.header.values_checksum());
  EXPECT_TRUE(MessageDifferencer::Equals(expected, b.header)) << b.header.DebugString();
  EXPECT_EQ(Text(a.ids), Text(b.ids));
  EXPECT_EQ(Text(a.values), Text(b.values));
}

TEST(FramesTest, RoundTripSharesTheFrames) {
  const Message sent = Sample();
  const Frames frames = Encode(sent);
  const auto got = Decode(frames);
  ASSERT_TRUE(got.ok()) << got.status();
  ExpectEqual(sent, *got);
  EXPECT_EQ(got->header.protocol_version(), kProtocolVersion);
  EXPECT_EQ(got->ids.data(), sent.ids.data());
  EXPECT_EQ(got->values.data(), sent.values.data());
  EXPECT_THAT(Ids(*got), ElementsAre(1, 0xFFFFFFFFFFFFFFFF, 3, 4));
  EXPECT_THAT(Values(*got), ElementsAre(1.5f, -2.0f, 0.0f));
}

TEST(FramesTest, EmptyFramesHaveNoChecksum) {
  Message message;
  message.header.set_kind(WireHeader::STATUS);
  const auto got = Decode(Encode(message));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->header.ids_checksum(), 0u);
  EXPECT_TRUE(Ids(*got).empty());
}

TEST(FramesTest, PushNamesSegmentsWithoutIds) {
  Message message = Sample();
  message.ids = Buffer();
  EXPECT_TRUE(Decode(Encode(message)).ok());
}

TEST(FramesTest, UnalignedFramesAreCopied) {
  const Message sent = Sample();
  Frames frames = Encode(sent);
  for (Buffer* frame : {&frames.header, &frames.ids, &frames.values}) {
    const Buffer shifted = FromText(std::string(1, 'x').append(Text(*frame)));
    *frame = Buffer(shifted.data() + 1, shifted.size() - 1, shifted.owner());
  }
  const auto got = Decode(frames);
  ASSERT_TRUE(got.ok()) << got.status();
  ExpectEqual(sent, *got);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(got->ids.data()) % 8, 0u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(got->values.data()) % 8, 0u);
}

TEST(FramesTest, EveryFlippedBitIsDetected) {
  const Frames good = Encode(Sample());
  for (Buffer Frames::*part : {&Frames::header, &Frames::ids, &Frames::values}) {
    const std::string bytes = Text(good.*part);
    for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      std::string flipped = bytes;
      flipped[bit / 8] ^= 1 << bit % 8;
      Frames bad = good;
      bad.*part = FromText(flipped);
      EXPECT_TRUE(absl::IsDataLoss(Decode(bad).status())) << "bit " << bit;
    }
  }
}

TEST(FramesTest, EveryTruncationAndExtensionIsDetected) {
  const Frames good = Encode(Sample());
  for (Buffer Frames::*part : {&Frames::header, &Frames::ids, &Frames::values}) {
    const std::string bytes = Text(good.*part);
    for (size_t size = 0; size <= bytes.size() + 9; ++size) {
      if (size == bytes.size()) continue;
      Frames bad = good;
      std::string cut = bytes;
      cut.resize(size, '\0');
      bad.*part = FromText(cut);
      EXPECT_TRUE(absl::IsDataLoss(Decode(bad).status())) << size << " bytes";
    }
  }
}

TEST(FramesTest, SegmentsMustAddUpToTheIds) {
  // Those of an announcement, where there is one; else the message's own.
  for (const bool has_announce : {true, false}) {
    Message message = Sample();
    message.header.set_has_announce(has_announce);
    auto* segments =
        has_announce ? message.header.mutable_announced() : message.header.mutable_segment();
    segments->Mutable(0)->set_count(0xFFFFFFFF);  // 4 + 2^32 would fit in 32 bits.
    segments->Mutable(1)->set_count(5);
    const auto got = Decode(Encode(message));
    EXPECT_TRUE(absl::IsDataLoss(got.status()));
    EXPECT_THAT(std::string(got.status().message()), HasSubstr("4294967300 ids"));
  }
}

TEST(FramesTest, ValuesMustBeWhole) {
  Message message = Sample();
  message.values = FromText("abcdef");
  EXPECT_TRUE(absl::IsDataLoss(Decode(Encode(message)).status()));
  message.header.set_encoding(WireHeader::BF16);
  EXPECT_TRUE(Decode(Encode(message)).ok());
}

TEST(FramesTest, UnknownKindsAndEncodingsAreRefused) {
  Message message = Sample();
  message.header.set_kind(static_cast<WireHeader::Kind>(99));
  EXPECT_TRUE(absl::IsDataLoss(Decode(Encode(message)).status()));
  message = Sample();
  message.header.set_encoding(static_cast<WireHeader::Encoding>(-1));
  EXPECT_TRUE(absl::IsDataLoss(Decode(Encode(message)).status()));
}

TEST(FramesTest, AnotherProtocolVersionIsNamedWithOurs) {
  WireHeader header;
  header.set_kind(WireHeader::HELLO);
  header.set_protocol_version(7);
  const auto got = Decode({Sealed(header), Buffer(), Buffer()});
  EXPECT_TRUE(absl::IsInvalidArgument(got.status()));
  EXPECT_THAT(std::string(got.status().message()), HasSubstr("version 7 of the peer, ours is 5"));
}

TEST(FramesTest, OversizedFramesAreRefusedUnread) {
  // The sizes lie: reading a byte of these would crash.
  const auto owner = std::make_shared<int>(0);
  const Buffer huge(reinterpret_cast<const void*>(8), kMaxFrameBytes + 8, owner);
  const Buffer huge_header(reinterpret_cast<const void*>(8), kMaxHeaderBytes + 1, owner);
  const Frames good = Encode(Sample());
  EXPECT_TRUE(absl::IsDataLoss(Decode({good.header, huge, Buffer()}).status()));
  EXPECT_TRUE(absl::IsDataLoss(Decode({good.header, good.ids, huge}).status()));
  EXPECT_TRUE(absl::IsDataLoss(Decode({huge_header, good.ids, good.values}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(CheckFrameSizes({good.header, huge, Buffer()})));
}

TEST(FramesTest, SealedNonsenseIsNoHeader) {
  std::string text(1000, '\xFF');
  const uint64_t checksum = HashBytes(text);
  text.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  EXPECT_TRUE(absl::IsDataLoss(Decode({FromText(text), Buffer(), Buffer()}).status()));
}

// What stands in tests/golden/wire-v`version`.
Frames Golden(int version) {
  Frames frames;
  for (const auto& [name, part] :
       {std::pair("header", &Frames::header), std::pair("ids", &Frames::ids),
        std::pair("values", &Frames::values)}) {
    const std::string path =
        absl::StrCat(PAGODA_SOURCE_DIR, "/tests/golden/wire-v", version, "/", name, ".bin");
    std::ifstream file(path, std::ios::binary);
    EXPECT_TRUE(file) << path;
    std::stringstream bytes;
    bytes << file.rdbuf();
    frames.*part = FromText(bytes.str());
  }
  return frames;
}

TEST(FramesTest, GoldenBytesOfVersion5) {
  const Frames frames = Encode(Sample()), stored = Golden(5);
  EXPECT_EQ(Text(stored.header), Text(frames.header));
  EXPECT_EQ(Text(stored.ids), Text(frames.ids));
  EXPECT_EQ(Text(stored.values), Text(frames.values));
  const auto got = Decode(stored);
  ASSERT_TRUE(got.ok()) << got.status();
  ExpectEqual(Sample(), *got);
}

// Nothing of older versions is stored anywhere: such a peer is told which version this is.
TEST(FramesTest, OlderVersionsAreRefusedByName) {
  for (const int version : {1, 2, 3, 4}) {
    const absl::Status status = Decode(Golden(version)).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("version ", version)));
    EXPECT_THAT(std::string(status.message()), HasSubstr("ours is 5"));
  }
}

TEST(FramesTest, DoublesAreWhole) {
  Message message = Sample();
  message.header.set_encoding(WireHeader::F64);
  EXPECT_TRUE(absl::IsDataLoss(Decode(Encode(message)).status()));  // 12 bytes.
  message.values = Buffer::Of(std::vector<double>{0.1, -2});
  const auto got = Decode(Encode(message));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT(Doubles(*got), ElementsAre(0.1, -2));
}

}  // namespace
}  // namespace pagoda
