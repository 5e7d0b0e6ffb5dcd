// How the workers of a group learn together that something went wrong with one of them.
//
// An error that all of them have is marked as agreed: the job can then end in order (worker 0 says
// it once, every rank finalises) instead of by MPI_Abort.
//
// **Confined to the group's thread** (functions).
#ifndef PAGODA_WORKER_TRAIN_AGREEMENT_H_
#define PAGODA_WORKER_TRAIN_AGREEMENT_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/group/group.h"

namespace pagoda {

// `root`'s status at every rank, an error marked as agreed. All ranks call it.
absl::Status ShareStatus(Group& group, int root, const absl::Status& mine);

// OK when it is at every rank; else the error of the lowest rank that has one, marked as agreed and
// naming that rank unless it is 0. All ranks call it.
absl::Status AgreeStatus(Group& group, const absl::Status& mine);

// root's value, or root's error as ShareStatus gives it. The text of the other ranks is ignored.
absl::StatusOr<std::string> ShareText(Group& group, int root,
                                      const absl::StatusOr<std::string>& mine);

// True when every rank of the group has this error. Context added later (WithContext) loses the
// mark.
bool IsAgreed(const absl::Status& status);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_AGREEMENT_H_
