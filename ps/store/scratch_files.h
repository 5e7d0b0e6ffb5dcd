// RocksDB's environment for files that no one reads after this process: nothing is synced.
//
// RocksDB syncs every file it ends and its directory beside it, and has no option against that. The
// kernel still writes what it has no memory for.
//
// Thread-safe. Included by ps/store/*.cc only.
#ifndef PAGODA_PS_STORE_SCRATCH_FILES_H_
#define PAGODA_PS_STORE_SCRATCH_FILES_H_

#include <rocksdb/env.h>

#include <memory>

namespace pagoda {

std::unique_ptr<rocksdb::Env> NewScratchEnv();

}  // namespace pagoda

#endif  // PAGODA_PS_STORE_SCRATCH_FILES_H_
