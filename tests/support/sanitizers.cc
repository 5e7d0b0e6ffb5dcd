// Defaults of the sanitizers, linked into every test program of a sanitizer tree
// (CMakePresets.json).
//
// Suppressed are libraries that Debian ships without instrumentation, and nothing of ours.
#include <string>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

extern "C" {

const char* __asan_default_options() { return "detect_leaks=1:strict_string_checks=1"; }
const char* __ubsan_default_options() { return "print_stacktrace=1"; }

// What these keep until the process ends does not grow with work.
const char* __lsan_default_suppressions() {
  return "leak:libopen-rte\nleak:libopen-pal\nleak:libmpi\nleak:libpmix\nleak:libevent\nleak:"
         "libhwloc\n";
}

const char* __tsan_default_options() { return "second_deadlock_stack=1"; }
// Their locks are not seen, so that what the locks guard looks unguarded.
const char* __tsan_default_suppressions() {
  return "called_from_lib:libabsl_graphcycles_internal.so\ncalled_from_lib:libglog.so\n"
         "called_from_lib:libgomp.so\ncalled_from_lib:libprotobuf.so\ncalled_from_lib:librocksdb."
         "so\n"
         "called_from_lib:libzmq.so\n";
}

}  // extern "C"

#if defined(__SANITIZE_THREAD__)
// Debian's libabsl is not instrumented either, and our own locks are absl::Mutex. The linker sends
// our calls here (--wrap, tsan_wrap.txt); each tells ThreadSanitizer what the lock ordered, then
// does the real thing. The names are those of the inline namespace of Debian 12's Abseil.
#define PAGODA_MUTEX "_ZN4absl7debian35Mutex"
#define PAGODA_CONDVAR "_ZN4absl7debian37CondVar"

extern "C" {
// Of ThreadSanitizer's library; no header declares them.
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

namespace {

// Abseil tries the conditions of those who wait inside Unlock and Await, under the lock but after
// our release: what they read there is guarded, and ThreadSanitizer cannot know.
struct ConditionsAreGuarded {
  ConditionsAreGuarded() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~ConditionsAreGuarded() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

}  // namespace

extern "C" {
using Address = void*;
#define WRAPPED(result, name, suffix, ...)               \
  result name##_real(__VA_ARGS__) asm("__real_" suffix); \
  result name##_wrap(__VA_ARGS__) asm("__wrap_" suffix); \
  result name##_wrap(__VA_ARGS__)

WRAPPED(void, lock, PAGODA_MUTEX "4LockEv", Address mu) {
  lock_real(mu);
  __tsan_acquire(mu);
}
WRAPPED(void, unlock, PAGODA_MUTEX "6UnlockEv", Address mu) {
  __tsan_release(mu);
  const ConditionsAreGuarded guarded;
  unlock_real(mu);
}
WRAPPED(void, reader_lock, PAGODA_MUTEX "10ReaderLockEv", Address mu) {
  reader_lock_real(mu);
  __tsan_acquire(mu);
}
WRAPPED(void, reader_unlock, PAGODA_MUTEX "12ReaderUnlockEv", Address mu) {
  __tsan_release(mu);
  const ConditionsAreGuarded guarded;
  reader_unlock_real(mu);
}
WRAPPED(bool, try_lock, PAGODA_MUTEX "7TryLockEv", Address mu) {
  const bool locked = try_lock_real(mu);
  if (locked) __tsan_acquire(mu);
  return locked;
}
WRAPPED(void, await, PAGODA_MUTEX "5AwaitERKNS0_9ConditionE", Address mu, const void* condition) {
  __tsan_release(mu);
  const ConditionsAreGuarded guarded;
  await_real(mu, condition);
  __tsan_acquire(mu);
}
WRAPPED(bool, await_timeout, PAGODA_MUTEX "16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE",
        Address mu, const void* condition, long seconds, unsigned ticks) {
  __tsan_release(mu);
  const ConditionsAreGuarded guarded;
  const bool held = await_timeout_real(mu, condition, seconds, ticks);
  __tsan_acquire(mu);
  return held;
}
WRAPPED(void, wait, PAGODA_CONDVAR "4WaitEPNS0_5MutexE", Address cv, Address mu) {
  __tsan_release(mu);
  const ConditionsAreGuarded guarded;
  wait_real(cv, mu);
  __tsan_acquire(mu);
}
WRAPPED(bool, wait_timeout, PAGODA_CONDVAR "15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE",
        Address cv, Address mu, long seconds, unsigned ticks) {
  __tsan_release(mu);
  const ConditionsAreGuarded guarded;
  const bool timed_out = wait_timeout_real(cv, mu, seconds, ticks);
  __tsan_acquire(mu);
  return timed_out;
}
}  // extern "C"
#endif  // __SANITIZE_THREAD__
