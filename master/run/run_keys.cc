#include "master/run/run_keys.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/files.h"
#include "cq/error.h"

namespace cq {
namespace {

namespace fs = std::filesystem;

std::string ReadKey(const std::string& path) {
  std::string key = ReadFile(path);
  while (!key.empty() && key.back() == '\n') key.pop_back();
  if (key.size() != 40) throw Error(fmt::format("'{}' holds no key", path));
  return key;
}

}  // namespace

RunKeys::RunKeys(const RunDirectory& directory, RunId run) : directory_(directory) {
  if (!KeepsFilesPrivate(directory.path())) {
    elsewhere_ = fmt::format("{}/{:016x}", StateDirectory(), run);
    std::error_code failed;
    fs::create_directories(elsewhere_, failed);
    if (failed || !KeepsFilesPrivate(elsewhere_)) {
      throw Error(fmt::format(
          "neither the run directory '{}' nor '{}' can hold a file that is private (mode 600), as "
          "the run's keys must be: --run-dir DIR puts the run on another file system",
          directory.path(), elsewhere_));
    }
  }
  try {
    connection_ = ReadConnectionFile(directory.File("connect.json"));
    server_ = {connection_.server_public, ReadKey(File("server.key"))};
    if (connection_.run == run) return;
  } catch (const std::exception&) {
    // None yet, or none that can be used.
  }
  server_ = MakeKeyPair();
  connection_ = {run, {}, server_.public_key, MakeKeyPair()};
}

std::string RunKeys::File(const char* name) const {
  return elsewhere_.empty() ? directory_.File(name) : elsewhere_ + "/" + name;
}

int RunKeys::port() const {
  if (connection_.endpoints.empty()) return 0;
  const std::string& address = connection_.endpoints[0];
  return std::atoi(address.c_str() + address.rfind(':') + 1);
}

void RunKeys::Write(std::vector<std::string> endpoints, std::string local, bool lends,
                    std::map<std::string, Capacity> pools) {
  connection_.pools = std::move(pools);
  connection_.lends = lends;
  connection_.endpoints = std::move(endpoints);
  connection_.local = std::move(local);
  ReplaceFile(File("server.key"), server_.secret_key + "\n", 0600);
  WriteConnectionFile(File("connect.json"), connection_);
  if (!elsewhere_.empty()) {
    WriteConnectionPointer(directory_.File("connect.json"), File("connect.json"));
  }
}

void RunKeys::Remove() const {
  std::error_code ignored;
  if (!elsewhere_.empty()) fs::remove_all(elsewhere_, ignored);
}

}  // namespace cq
