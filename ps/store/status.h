// RocksDB's statuses as ours; included by ps/store/*.cc only.
#ifndef PAGODA_PS_STORE_STATUS_H_
#define PAGODA_PS_STORE_STATUS_H_

#include <rocksdb/status.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace pagoda {

// Corruption becomes a DataError, all else (a full disk, a missing file) an IoError: "DOING PATH:
// what RocksDB says".
inline absl::Status FromRocksdb(const rocksdb::Status& status, absl::string_view doing,
                                absl::string_view path) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = absl::StrCat(doing, " ", path, ": ", status.ToString());
  return status.IsCorruption() ? DataError(message) : IoError(message);
}

}  // namespace pagoda

#endif  // PAGODA_PS_STORE_STATUS_H_
