// An array for the step's path: aligned, not initialised, never shrinking.
//
// std::vector writes zeros into what it grows by; these arrays are written in full by their users
// at every step, and at steady state Resize allocates nothing.
//
// **Needs external lock** (a value).
#ifndef PAGODA_WORKER_TRAIN_STEP_ARRAY_H_
#define PAGODA_WORKER_TRAIN_STEP_ARRAY_H_

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>

namespace pagoda {

template <typename T>
class Array {
 public:
  static_assert(std::is_trivially_copyable_v<T>);
  static constexpr std::align_val_t kAlignment{64};  // A cache line, and an AVX-512 vector.

  Array() = default;
  explicit Array(size_t size) { Resize(size); }

  // Contents are undefined afterwards when it grows beyond what it ever was.
  void Resize(size_t size) {
    if (size > capacity_) {
      // A quarter more, so that steps of slowly growing size seldom allocate.
      capacity_ = size + size / 4;
      data_.reset(static_cast<T*>(::operator new(capacity_ * sizeof(T), kAlignment)));
    }
    size_ = size;
  }

  size_t size() const { return size_; }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  T& operator[](size_t i) { return data_.get()[i]; }
  const T& operator[](size_t i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* p) const { ::operator delete(p, kAlignment); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_ARRAY_H_
