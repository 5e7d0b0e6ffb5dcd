#include "worker/train/agreement.h"

#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "proto/wire.pb.h"

namespace pagoda {
namespace {

constexpr char kAgreed[] = "pagoda/agreed";

std::string Pack(const absl::Status& status) {
  WireError error;
  error.set_code(status.raw_code());
  error.set_message(std::string(status.message()));
  return error.SerializeAsString();
}

absl::Status Unpack(const std::string& text, int rank) {
  WireError error;
  if (!error.ParseFromString(text)) return absl::InternalError("a status that does not parse");
  if (error.code() == 0) return absl::OkStatus();
  absl::Status status(static_cast<absl::StatusCode>(error.code()), error.message());
  if (rank > 0) status = WithContext(status, absl::StrCat("rank ", rank));
  status.SetPayload(kAgreed, absl::Cord());
  return status;
}

}  // namespace

absl::Status ShareStatus(Group& group, int root, const absl::Status& mine) {
  ASSIGN_OR_RETURN(const std::string text, group.Broadcast(root, Pack(mine)));
  return Unpack(text, root);
}

absl::Status AgreeStatus(Group& group, const absl::Status& mine) {
  ASSIGN_OR_RETURN(const std::vector<std::string> all, group.AllGather(Pack(mine)));
  for (int rank = 0; rank < group.size(); ++rank) {
    RETURN_IF_ERROR(Unpack(all[rank], rank));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ShareText(Group& group, int root,
                                      const absl::StatusOr<std::string>& mine) {
  RETURN_IF_ERROR(ShareStatus(group, root, mine.status()));
  return group.Broadcast(root, mine.ok() ? *mine : std::string());
}

bool IsAgreed(const absl::Status& status) { return status.GetPayload(kAgreed).has_value(); }

}  // namespace pagoda
