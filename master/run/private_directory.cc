#include "master/run/private_directory.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "cq/error.h"
#include "master/run/run_directory.h"

namespace cq {
namespace {

namespace fs = std::filesystem;

constexpr const char* kName = ".cq-master-";

// Of masters of ours that were killed: their locks are free.
void RemoveLeftBehind(const std::string& base) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(base, ignored)) {
    const std::string path = entry.path().string();
    struct stat status {};
    const bool ours = entry.path().filename().string().starts_with(kName) &&
                      lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode) &&
                      status.st_uid == geteuid();
    if (!ours || !fs::exists(path + "/run/lock", ignored) || MasterMayLive(path + "/run")) continue;
    fs::remove_all(path, ignored);
  }
}

}  // namespace

PrivateDirectory::PrivateDirectory(bool shared) {
  const char* temporary = getenv("TMPDIR");
  const std::string base = shared ? fs::current_path().string()
                           : temporary != nullptr && temporary[0] != '\0' ? temporary
                                                                          : "/tmp";
  RemoveLeftBehind(base);
  path_ = fmt::format("{}/{}XXXXXX", base, kName);
  if (mkdtemp(path_.data()) == nullptr) {
    throw Error(fmt::format("cannot make a directory in '{}': {}", base, strerror(errno)));
  }
}

PrivateDirectory::~PrivateDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace cq
