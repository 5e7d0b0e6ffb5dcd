// Configurations: Protobuf text read with good errors, merged in layers, and nearest names for what
// nobody knows.
//
// Layers are merged as proto/config.proto says: scalars of the later layer win, repeated messages
// with a `name` merge by name, other repeated fields replace.
//
// Thread-safe (functions).
#ifndef PAGODA_COMMON_CONFIG_H_
#define PAGODA_COMMON_CONFIG_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/config.pb.h"

namespace pagoda {

// `where` names the source in errors ("configs/models/ple.textproto", "--override"):
// "where:line:column: ...". An unknown field lists the near ones; a name that stands twice in one
// list is an error.
absl::StatusOr<Config> ParseConfig(absl::string_view text, absl::string_view where);

// Puts `layer` over *base.
void MergeConfig(const Config& layer, Config* base);

// The known names nearest to `name` by edit distance, best first, at most three; empty when none is
// near.
std::vector<std::string> NearestNames(absl::string_view name,
                                      const std::vector<std::string>& known);
// "; did you mean ple, moe?" or "; known: a, b, c".
std::string NearestHint(absl::string_view name, const std::vector<std::string>& known);

// The file of --model= or --dataset=: a path as it is, else config_root/KIND/NAME.textproto.
// NotFound lists the near names.
absl::StatusOr<std::string> FindConfigFile(const std::string& config_root, const std::string& kind,
                                           const std::string& name_or_path);

// Ranges and references that need no registry: names of optimizers, best_by, positive sizes, lanes.
// UsageError: field, value, allowed.
absl::Status ValidateConfig(const Config& config);
// Its part on the data set.
absl::Status ValidateDataset(const DatasetConfig& dataset);

}  // namespace pagoda

#endif  // PAGODA_COMMON_CONFIG_H_
