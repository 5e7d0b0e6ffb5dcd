// "COMMAND |" in place of a path: what ByteReader (common/io/file.h) takes for a command.
//
// Thread-safe (a pure function).
#ifndef PAGODA_COMMON_IO_PIPE_H_
#define PAGODA_COMMON_IO_PIPE_H_

#include "absl/strings/string_view.h"

namespace pagoda {

// Blanks behind the bar change nothing.
bool IsPipe(absl::string_view path);

}  // namespace pagoda

#endif  // PAGODA_COMMON_IO_PIPE_H_
