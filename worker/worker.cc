#include "worker/worker.h"

#include <fcntl.h>
#include <signal.h>

#include <cstdlib>

#include "worker/loan_loop.h"
#include "worker/log.h"
#include "worker/processes/descendants.h"
#include "worker/task_loop.h"

namespace cq {

int RunWorker(const WorkerOptions& options) {
  OpenLog();
  // Before any thread: they inherit the mask, and the signals come through the descriptor alone.
  const sigset_t signals = GoSignals();
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  // Its log may be a pipe that nobody reads any more.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  BecomeSubreaper();
  for (const int fd : {options.life_fd, options.held_fd}) {
    if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  ConnectionFile file = ReadConnectionFile(options.connection_file);
  // For the tasks, before any thread; where there are no pools by name, it says nothing.
  const bool named = file.pools.size() > 1 || options.pool != "default";
  if (named && !options.pool.empty()) setenv("CQ_POOL", options.pool.c_str(), 1);
  int status = 0;
  {
    const auto loop = file.lends ? MakeLoanLoop(options, std::move(file))
                                 : MakeTaskLoop(options, std::move(file));
    status = loop->Run();
  }
  KillAllDescendants(10'000);
  return status;
}

}  // namespace cq
