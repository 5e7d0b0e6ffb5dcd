// Command lines checked before gflags parses them, so that a bad one ends with exit code 2, one
// clear line and the near names.
//
// gflags itself stays beside the mains: they pass what the registry holds. gflags exits with 1 on a
// bad flag; after CheckCommandLine succeeded it cannot.
//
// Thread-safe (functions).
#ifndef PAGODA_COMMON_FLAGS_H_
#define PAGODA_COMMON_FLAGS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace pagoda {

struct FlagSpec {
  std::string name;
  std::string type;  // gflags': bool, int32, int64, uint64, double, string.
  std::string default_value;
  std::string help;
};

// Unknown flags, values of the wrong type, missing values; --flagfile's contents too. `arguments`
// without the program's name.
absl::Status CheckCommandLine(const std::vector<FlagSpec>& known,
                              const std::vector<std::string>& arguments);

// What --help prints: a usage line, then the flags, aligned, with their defaults.
std::string HelpText(const std::string& usage, const std::vector<FlagSpec>& flags);

}  // namespace pagoda

#endif  // PAGODA_COMMON_FLAGS_H_
