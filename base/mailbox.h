#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "base/files.h"
#include "base/mutex.h"

namespace cq {

/// Hands values from any thread to one that waits on a descriptor.
template <class T>
class Mailbox {
 public:
  Mailbox() : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  void Put(T value) {
    bool first = false;
    {
      const Lock lock(mutex_);
      first = values_.empty();
      values_.push_back(std::move(value));
    }
    if (!first) return;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = write(wake_.get(), &one, sizeof one);
  }

  std::vector<T> TakeAll() {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t n = read(wake_.get(), &count, sizeof count);
    const Lock lock(mutex_);
    return std::exchange(values_, {});
  }

  /// Readable while there may be something to take.
  int fd() const { return wake_.get(); }

 private:
  Fd wake_;
  Mutex mutex_;
  std::vector<T> values_ CQ_GUARDED_BY(mutex_);
};

}  // namespace cq
