#include "worker/train/agreement.h"

#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "common/errors.h"
#include "proto/wire.pb.h"

namespace pagoda {
namespace {

constexpr char kReportedElsewhere[] = "pagoda/reported_elsewhere";

std::string Pack(const absl::Status& status) {
  WireError error;
  error.set_code(status.raw_code());
  error.set_message(std::string(status.message()));
  return error.SerializeAsString();
}

absl::Status Unpack(const std::string& text, bool mine) {
  WireError error;
  if (!error.ParseFromString(text)) return absl::InternalError("a status that does not parse");
  if (error.code() == 0) return absl::OkStatus();
  absl::Status status(static_cast<absl::StatusCode>(error.code()), error.message());
  if (!mine) status.SetPayload(kReportedElsewhere, absl::Cord());
  return status;
}

}  // namespace

absl::Status ShareStatus(Group& group, int root, const absl::Status& mine) {
  ASSIGN_OR_RETURN(const std::string text, group.Broadcast(root, Pack(mine)));
  return Unpack(text, group.rank() == root);
}

absl::Status AgreeStatus(Group& group, const absl::Status& mine) {
  ASSIGN_OR_RETURN(const std::vector<std::string> all, group.AllGather(Pack(mine)));
  for (int rank = 0; rank < group.size(); ++rank) {
    RETURN_IF_ERROR(Unpack(all[rank], rank == group.rank()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ShareText(Group& group, int root,
                                      const absl::StatusOr<std::string>& mine) {
  RETURN_IF_ERROR(ShareStatus(group, root, mine.status()));
  return group.Broadcast(root, mine.ok() ? *mine : std::string());
}

bool IsReportedElsewhere(const absl::Status& status) {
  return status.GetPayload(kReportedElsewhere).has_value();
}

}  // namespace pagoda
