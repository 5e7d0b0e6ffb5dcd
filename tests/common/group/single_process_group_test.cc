#include <string>
#include <vector>

#include "common/group/group.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagoda {
namespace {

using testing::ElementsAre;

absl::Span<std::byte> Bytes(std::string& text) {
  return {reinterpret_cast<std::byte*>(text.data()), text.size()};
}

class SingleProcessGroupTest : public testing::Test {
 protected:
  std::unique_ptr<Group> group_ = *OpenGroup(/*launched_by_mpi=*/false, GroupOptions());
};

TEST_F(SingleProcessGroupTest, CollectivesGiveBackWhatOneRankPutIn) {
  EXPECT_EQ(group_->rank(), 0);
  EXPECT_EQ(group_->size(), 1);
  EXPECT_THAT(*group_->AllGather("a"), ElementsAre("a"));
  EXPECT_THAT(*group_->Gather(0, ""), ElementsAre(""));
  EXPECT_EQ(*group_->Broadcast(0, "text"), "text");
  EXPECT_TRUE(group_->Barrier().ok());
  std::vector<float> x = {1.5f, -2.0f};
  EXPECT_TRUE(AllReduceTree(*group_, absl::MakeSpan(x)).ok());
  EXPECT_THAT(x, ElementsAre(1.5f, -2.0f));
  EXPECT_EQ((*group_->Split(7))->size(), 1);
}

TEST_F(SingleProcessGroupTest, MessagesToItselfKeepOrderPerTag) {
  std::string a = "aa", b = "bb", c = "cc", got = "..";
  ASSERT_TRUE(group_->Send(0, 1, Bytes(a)).ok());
  ASSERT_TRUE(group_->Send(0, 2, Bytes(b)).ok());
  ASSERT_TRUE(group_->Send(0, 1, Bytes(c)).ok());
  for (const auto& [tag, expected] : {std::pair(2, b), std::pair(1, a), std::pair(1, c)}) {
    ASSERT_TRUE(group_->Recv(0, tag, Bytes(got)).ok());
    EXPECT_EQ(got, expected);
  }
  EXPECT_TRUE(absl::IsDeadlineExceeded(group_->Recv(0, 1, Bytes(got))));
}

TEST_F(SingleProcessGroupTest, AnotherSizeIsAnError) {
  std::string a = "aaa", got = "..";
  ASSERT_TRUE(group_->Send(0, 1, Bytes(a)).ok());
  EXPECT_TRUE(absl::IsDataLoss(group_->Recv(0, 1, Bytes(got))));
}

}  // namespace
}  // namespace pagoda
