// Whether a row's labels form a funnel: who did a later step (conversion) did the earlier ones
// (click).
//
// A label counts where the row is in the task's sample space or weighs something in its loss: any
// other may be missing, or of another task's file.
//
// **Thread-safe** (const after construction).
#ifndef PAGODA_WORKER_DATA_FUNNEL_CHECK_H_
#define PAGODA_WORKER_DATA_FUNNEL_CHECK_H_

#include <string>
#include <vector>

#include "proto/config.pb.h"
#include "worker/data/record.h"

namespace pagoda {

class FunnelCheck {
 public:
  // `steps`: names of the data set's tasks, first to last; empty: every row passes.
  FunnelCheck(const DatasetConfig& config, const std::vector<std::string>& steps);

  // The first task whose label is above 0 while that of an earlier step is 0, with *reason; -1:
  // none.
  int FindBreak(const Record& record, std::string* reason) const;

 private:
  struct Step {
    int task;
    std::string name;
  };
  std::vector<Step> steps_;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_FUNNEL_CHECK_H_
