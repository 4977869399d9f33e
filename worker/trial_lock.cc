#include "worker/trial_lock.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "worker/log.h"

namespace cq {

TrialLock::TrialLock(const std::string& path) {
  if (path.empty()) return;
  // Opened anew, so that its locks are this process's own.
  file_ = Fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file_) {
    LogWarning(fmt::format("cannot open '{}', which is to keep dangerous tasks apart: {}", path,
                           strerror(errno)));
  }
}

bool TrialLock::Take() {
  if (!file_) return true;
  struct flock lock {};
  lock.l_type = F_WRLCK;
  return fcntl(file_.get(), F_OFD_SETLK, &lock) == 0;
}

void TrialLock::Release() {
  if (!file_) return;
  struct flock lock {};
  lock.l_type = F_UNLCK;
  fcntl(file_.get(), F_OFD_SETLK, &lock);
}

}  // namespace cq
