#pragma once

#include <map>
#include <string>
#include <vector>

namespace cq {

struct RunDefinition;

/// The files that results depend on and that this machine can see: by path, a text that differs
/// once the file has changed.
using Fingerprints = std::map<std::string, std::string>;

/// Of the command's program, of constant arguments that name regular files, and of `depends`.
/// Throws UsageError for a file in `depends` that cannot be read.
Fingerprints TakeFingerprints(const RunDefinition& definition,
                              const std::vector<std::string>& depends);

/// The paths that are in both and differ.
std::vector<std::string> Changed(const Fingerprints& before, const Fingerprints& now);

std::string ToJson(const Fingerprints& fingerprints);
Fingerprints FingerprintsFromJson(const std::string& json);

}  // namespace cq
