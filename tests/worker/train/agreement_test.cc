#include "worker/train/agreement.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/errors.h"
#include "gtest/gtest.h"
#include "tests/worker/train/thread_group.h"

namespace pagoda {
namespace {

using testing::RunGroup;

TEST(Agreement, AllWellIsWellEverywhere) {
  RunGroup(3, [](Group& group) { EXPECT_TRUE(AgreeStatus(group, absl::OkStatus()).ok()); });
}

TEST(Agreement, OneRanksErrorIsEverybodysAndNamesIt) {
  RunGroup(3, [](Group& group) {
    const absl::Status mine = group.rank() == 2 ? IoError("disk full") : absl::OkStatus();
    const absl::Status agreed = AgreeStatus(group, mine);
    EXPECT_EQ(agreed.message(), "rank 2: disk full");
    EXPECT_EQ(ExitCodeOf(agreed), ExitCode::kIo);
    EXPECT_TRUE(IsAgreed(agreed));
  });
}

TEST(Agreement, OfSeveralErrorsTheLowestRanksIsTaken) {
  RunGroup(4, [](Group& group) {
    const absl::Status mine =
        group.rank() == 0 ? absl::OkStatus() : UsageError(std::to_string(group.rank()));
    EXPECT_EQ(AgreeStatus(group, mine).message(), "rank 1: 1");
  });
}

TEST(Agreement, TheRootsErrorComesAsItIs) {
  RunGroup(2, [](Group& group) {
    const absl::Status agreed =
        ShareStatus(group, 0, group.rank() == 0 ? DataError("broken") : IoError("not asked"));
    EXPECT_EQ(agreed.message(), "broken");
    EXPECT_EQ(ExitCodeOf(agreed), ExitCode::kData);
    EXPECT_TRUE(IsAgreed(agreed));
  });
}

TEST(Agreement, TextsMayHoldAnyBytesOrNone) {
  for (const std::string& text : {std::string(), std::string("a\0b\xff", 4)}) {
    RunGroup(2, [&](Group& group) {
      EXPECT_EQ(*ShareText(group, 1, group.rank() == 1 ? text : std::string("ignored")), text);
    });
  }
}

TEST(Agreement, AnErrorInsteadOfATextIsShared) {
  RunGroup(2, [](Group& group) {
    absl::StatusOr<std::string> mine = std::string("ignored");
    if (group.rank() == 0) mine = TemporaryError("gone");
    EXPECT_TRUE(IsAgreed(ShareText(group, 0, mine).status()));
  });
}

TEST(Agreement, AnErrorOfOnesOwnIsNotAgreed) { EXPECT_FALSE(IsAgreed(IoError("mine"))); }

}  // namespace
}  // namespace pagoda
