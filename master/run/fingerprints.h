#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace cq {

struct RunDefinition;

/// The files that results depend on and that this machine can see: by path, a text that differs
/// once the file has changed.
using Fingerprints = std::map<std::string, std::string>;

/// Of the command's program, of constant arguments that name regular files, of `libraries` as far
/// as they can be read, and of `depends`.
/// Throws UsageError for a file in `depends` that cannot be read.
Fingerprints TakeFingerprints(const RunDefinition& definition,
                              const std::vector<std::string>& depends,
                              const std::vector<std::string>& libraries = {});

/// The paths that are in both and differ.
std::vector<std::string> Changed(const Fingerprints& before, const Fingerprints& now);

/// Finds out, while a run goes on, which of these files are not any more what they were.
class FileWatch {
 public:
  explicit FileWatch(Fingerprints known) : known_(std::move(known)) {}
  /// What the user is to be told of those that changed since, each once in the life of this object;
  /// empty if there is none. Costs a `stat` a file as long as nothing has changed.
  std::string Look();

 private:
  Fingerprints known_;
};

std::string ToJson(const Fingerprints& fingerprints);
Fingerprints FingerprintsFromJson(const std::string& json);

}  // namespace cq
