// How the workers of a group learn together that something went wrong with one of them, and say so
// once.
//
// **Confined to the group's thread** (functions).
#ifndef PAGODA_WORKER_TRAIN_AGREEMENT_H_
#define PAGODA_WORKER_TRAIN_AGREEMENT_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/group/group.h"

namespace pagoda {

// `root`'s status at every rank; elsewhere an error is marked as reported by another. All ranks
// call it.
absl::Status ShareStatus(Group& group, int root, const absl::Status& mine);

// OK when it is at every rank; else the error of the lowest rank that has one. All ranks call it.
absl::Status AgreeStatus(Group& group, const absl::Status& mine);

// root's value, or root's error as ShareStatus gives it. The text of the other ranks is ignored.
absl::StatusOr<std::string> ShareText(Group& group, int root,
                                      const absl::StatusOr<std::string>& mine);

// True when another rank has this error as its own, prints it and ends the job.
bool IsReportedElsewhere(const absl::Status& status);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_AGREEMENT_H_
