// The group of one: no MPI, no sockets. Messages to itself wait in a queue.
//
// **Confined to the thread that created it.**
#ifndef PAGODA_COMMON_GROUP_SINGLE_PROCESS_GROUP_H_
#define PAGODA_COMMON_GROUP_SINGLE_PROCESS_GROUP_H_

#include <memory>

#include "common/group/group.h"

namespace pagoda {

std::unique_ptr<Group> MakeSingleProcessGroup();

}  // namespace pagoda

#endif  // PAGODA_COMMON_GROUP_SINGLE_PROCESS_GROUP_H_
