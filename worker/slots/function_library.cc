#include "worker/slots/function_library.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdlib>

#include "cq/error.h"

namespace cq {

namespace {

using GetFunction = const Function* (*)();

// Null: it has none.
GetFunction Find(const std::string& name, const char* prefix) {
  const size_t colon = name.rfind(':');
  if (colon == std::string::npos) throw Error(fmt::format("'{}' is no LIBRARY:NAME", name));
  void* handle = dlopen(name.substr(0, colon).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw Error(fmt::format("the library cannot be loaded: {}", dlerror()));
  return reinterpret_cast<GetFunction>(dlsym(handle, (prefix + name.substr(colon + 1)).c_str()));
}

}  // namespace

bool HasProposer(const std::string& name) { return Find(name, "cq_propose_") != nullptr; }

const Function& LoadFunction(const std::string& name, FunctionRole role) {
  const bool tasks = role == FunctionRole::kTasks;
  const GetFunction get = Find(name, tasks ? "cq_function_" : "cq_propose_");
  const std::string library = name.substr(0, name.rfind(':'));
  const std::string symbol = name.substr(library.size() + 1);
  if (get == nullptr) {
    throw Error(tasks ? fmt::format("'{}' has no function '{}' registered with CQ_FUNCTION({})",
                                    library, symbol, symbol)
                      : fmt::format("'{}' has no proposer of '{}' (CQ_PROPOSE({}, ...))", library,
                                    symbol, symbol));
  }
  const Function* function = get();
  if (function->version != kFunctionVersion) {
    throw Error(
        fmt::format("'{}' was built with another <cq/function.h>, of version {}; here it is {}",
                    library, function->version, kFunctionVersion));
  }
  return *function;
}

std::pair<int, int> TakePipes(const char* in_name, const char* out_name) {
  const char* in = getenv(in_name);
  const char* out = getenv(out_name);
  if (in == nullptr || out == nullptr) {
    throw UsageError("cq slot is started by workers: use cq run --function");
  }
  const std::pair<int, int> pipes(std::atoi(in), std::atoi(out));
  for (const int fd : {pipes.first, pipes.second}) {
    struct stat status {};
    if (fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode)) {
      throw UsageError(fmt::format(
          "the descriptor {}, over which the run speaks, is closed or is another's", fd));
    }
    // What a function starts has no business there.
    fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  unsetenv(in_name);
  unsetenv(out_name);
  return pipes;
}

}  // namespace cq
