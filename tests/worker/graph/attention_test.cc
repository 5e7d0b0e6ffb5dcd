// attention.cc beside the plain form, on every instruction set of this machine. What the plain form
// is: cases.h against differences, by hand in sequences_test.cc.
#include "worker/graph/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/worker/graph/every_target.h"

namespace pagoda {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// The same bits, but for those of a NaN.
void ExpectSame(const std::vector<float>& fast, const std::vector<float>& plain) {
  ASSERT_EQ(fast.size(), plain.size());
  for (size_t i = 0; i < fast.size(); ++i) {
    const bool is_same = std::memcmp(&fast[i], &plain[i], sizeof(float)) == 0;
    ASSERT_TRUE(is_same || (std::isnan(fast[i]) && std::isnan(plain[i])))
        << i << ": " << fast[i] << ", not " << plain[i];
  }
}

// [count], of size `scale`, some zeros of both signs.
std::vector<float> Numbers(size_t count, int salt, float scale = 1) {
  std::vector<float> numbers(count);
  for (size_t i = 0; i < count; ++i) {
    numbers[i] = scale * std::sin(static_cast<float>(37 * i + 11 * salt + i * i % 101));
    if (i % 13 == 5) numbers[i] = i % 2 == 0 ? 0.0f : -0.0f;
  }
  return numbers;
}

// A row, and gradients that hold something already. What stands at an empty place is no number, and
// reaches nothing.
struct Row {
  Row(const AttentionShape& shape, const std::vector<bool>& is_filled, float scale)
      : shape(shape), dy(Numbers(shape.width, 4)), mask(shape.places) {
    const size_t size = static_cast<size_t>(shape.places) * shape.width;
    for (int i = 0; i < 3; ++i) {
      x[i] = Numbers(size, i, scale);
      gradients[i] = Numbers(size, 5 + i);
      for (size_t at = 0; at < size; ++at) {
        if (!is_filled[at / shape.width]) x[i][at] = kNan;
      }
    }
    for (int place = 0; place < shape.places; ++place) {
      mask[place] = is_filled[place] ? 0.5f + static_cast<float>(place) : 0.0f;
    }
  }
  AttentionInputs<float> in() const { return {x[0].data(), x[1].data(), x[2].data(), mask.data()}; }

  AttentionShape shape;
  std::vector<float> x[3], dy, mask;  // q, k, v
  std::vector<float> gradients[3];
};

// Which array each of dq, dk and dv is; -1: not wanted.
using Arrays = std::vector<int>;

void Check(const Row& row, const Arrays& arrays) {
  AttentionScratch scratch;
  scratch.Fit(row.shape);
  std::fill(scratch.floats.begin(), scratch.floats.end(), kNan);  // Of some other row.
  std::vector<float> fast(row.shape.width, 7.0f), plain(row.shape.width, 8.0f);
  std::vector<float> plain_scratch(3 * row.shape.places);
  AttentionRow<float> oracle(row.shape, row.in(), plain_scratch.data());
  AttendRow(row.shape, row.in(), &scratch, fast.data());
  oracle.Forward(plain.data());
  ExpectSame(fast, plain);

  Row of_fast = row, of_plain = row;
  const auto array = [&](Row* of, int i) {
    return arrays[i] < 0 ? nullptr : of->gradients[arrays[i]].data();
  };
  AttendRowGradient(row.shape, row.in(), row.dy.data(), &scratch,
                    {array(&of_fast, 0), array(&of_fast, 1), array(&of_fast, 2)});
  oracle.Backward(row.dy.data(), array(&of_plain, 0), array(&of_plain, 1), array(&of_plain, 2));
  for (int i = 0; i < 3; ++i) ExpectSame(of_fast.gradients[i], of_plain.gradients[i]);
}

std::vector<std::vector<bool>> Masks(int places) {
  std::vector<std::vector<bool>> masks(5, std::vector<bool>(places));
  for (int place = 0; place < places; ++place) {
    masks[1][place] = true;
    masks[2][place] = place < (places + 1) / 2;
    masks[3][place] = place % 3 == 1;
    masks[4][place] = place == places - 1;
  }
  return masks;  // The first: none.
}

void CheckAll() {
  for (const int places : {1, 2, 7, 8, 9, 16, 17, 20, 50}) {
    for (const auto& [width, heads] :
         {std::pair(1, 1), std::pair(6, 2), std::pair(16, 2), std::pair(17, 1), std::pair(40, 2)}) {
      for (const std::vector<bool>& mask : Masks(places)) {
        // Shares of one size; all of one place; scores that are infinite.
        for (const float scale : {1.0f, 30.0f, 1e25f}) {
          SCOPED_TRACE(absl::StrCat(places, " places, ", width, " columns, ", heads,
                                    " heads, of size ", scale));
          Check(Row({places, width, heads}, mask, scale), {0, 1, 2});
        }
      }
    }
  }
  const Row row({20, 16, 2}, Masks(20)[2], 1);
  for (const Arrays& arrays : std::vector<Arrays>{{-1, 1, 2},
                                                  {0, -1, 2},
                                                  {0, 1, -1},
                                                  {-1, -1, -1},
                                                  {0, 0, 0},
                                                  {0, 0, 2},
                                                  {0, 1, 0},
                                                  {0, 1, 1}}) {
    SCOPED_TRACE(absl::StrCat("arrays ", arrays[0], " ", arrays[1], " ", arrays[2]));
    Check(row, arrays);
  }
}

TEST(Attention, HasThePlainFormsBitsOnEveryTarget) { OnEveryTarget(CheckAll); }

// One scratch serves sequences of several lengths.
TEST(Attention, ScratchGrowsToTheLargest) {
  AttentionScratch scratch;
  scratch.Fit({.places = 20, .width = 4, .heads = 1});
  const size_t of_long = scratch.floats.size();
  scratch.Fit({.places = 3, .width = 2, .heads = 1});
  EXPECT_EQ(scratch.floats.size(), of_long);
  EXPECT_EQ(scratch.filled.size(), 20u);
  scratch.Fit({.places = 30, .width = 1, .heads = 1});
  EXPECT_EQ(scratch.filled.size(), 30u);
}

}  // namespace
}  // namespace pagoda
