#pragma once

#include <string>
#include <vector>

namespace cq {

/// Runs a worker as a child of this process, and is its guardian: whichever of the two is left when
/// the other ends, however it ended, kills all its descendants, reaps them and exits. Call before
/// any thread is started.
///
/// `worker` is the worker's argument list without the program; `--life-fd 3` is appended: the
/// descriptor at which the worker sees that its guardian is gone (end of file). `master_fd` is a
/// pipe whose other end only the master holds, or -1: its end of file ends everything here.
/// Forwards SIGTERM, SIGINT, SIGHUP and SIGXCPU to the worker. Returns the worker's exit status,
/// 128 + N if signal N ended it.
/// `init`, if it is not empty, is shell text that the worker's process runs before it becomes the
/// worker.
/// `held_fd`, if it is not -1, is open in both as long as they live.
int RunGuardian(const std::vector<std::string>& worker, int master_fd, int held_fd,
                const std::string& init);

/// The words of a command that guards another program so (kGuardWord): `master_fd`, its file,
/// its words. It inherits what is open but that descriptor.
int GuardProgram(const std::vector<std::string>& words);

}  // namespace cq
