#include "protocol/spool.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/files.h"
#include "cq/error.h"
#include "protocol/codec.h"

namespace cq {
namespace {

constexpr const char* kSuffix = ".results";

bool Exists(const std::string& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0;
}

}  // namespace

std::string WriteSpoolFile(const std::string& directory, const WorkerId& worker,
                           const Results& results) {
  std::string name;
  for (const uint8_t byte : worker) name += fmt::format("{:02x}", byte);
  std::string path;
  for (int i = 1; path.empty() || Exists(path); ++i) {
    path = fmt::format("{}/{}-{}{}", directory, name, i, kSuffix);
  }
  ReplaceFile(path, Encode({}, results), 0600);
  return path;
}

std::vector<std::string> SpoolFiles(const std::string& directory) {
  std::vector<std::string> files;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    if (entry.path().extension() == kSuffix) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::variant<Results, std::string> ReadSpoolFile(const std::string& path) {
  std::string frame;
  try {
    frame = ReadFile(path);
  } catch (const Error& error) {
    return error.what();
  }
  auto decoded = DecodeFromWorker(frame);
  if (const auto* error = std::get_if<DecodeError>(&decoded)) {
    return fmt::format("'{}': {}", path, error->reason);
  }
  auto* results = std::get_if<Results>(&std::get<Decoded<FromWorker>>(decoded).message);
  if (results == nullptr) return fmt::format("'{}' holds no results", path);
  return std::move(*results);
}

}  // namespace cq
