// Runs a check under each instruction set that Highway's kernels choose from on this machine.
#ifndef PAGODA_TESTS_WORKER_GRAPH_EVERY_TARGET_H_
#define PAGODA_TESTS_WORKER_GRAPH_EVERY_TARGET_H_

#include <gtest/gtest.h>

#include "hwy/targets.h"

namespace pagoda {

template <typename Check>
void OnEveryTarget(Check check) {
  const auto targets = hwy::SupportedTargets();
  ASSERT_NE(targets & (targets - 1), 0) << "one target is no comparison";
  for (auto bits = targets; bits != 0; bits &= bits - 1) {
    SCOPED_TRACE(hwy::TargetName(bits & -bits));
    hwy::SetSupportedTargetsForTest(bits & -bits);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    check();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace pagoda

#endif  // PAGODA_TESTS_WORKER_GRAPH_EVERY_TARGET_H_
