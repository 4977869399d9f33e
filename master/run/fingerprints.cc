#include "master/run/fingerprints.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/files.h"
#include "base/json.h"
#include "base/text.h"
#include "cq/error.h"
#include "master/journal/run_definition.h"
#include "protocol/command.h"

namespace cq {
namespace {

/// Larger files are told by size and time alone: reading them would delay the first result.
constexpr off_t kHashedBytesMax = 16 << 20;

std::string From(const std::string& directory, const std::string& path) {
  return path.starts_with('/') ? path : directory + "/" + path;
}

// SIZE:TIME:HASH. Two are the same if their hashes are, whatever the times; without hashes, if
// sizes and times are.
std::string SizeAndTime(const struct stat& status) {
  return fmt::format("{}:{}.{:09}:", status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}
std::string FingerprintOf(const std::string& path, const struct stat& status) {
  std::string hash;
  if (status.st_size <= kHashedBytesMax) {
    const std::string bytes = ReadFile(path);
    const XXH128_hash_t h = XXH3_128bits(bytes.data(), bytes.size());
    hash = fmt::format("{:016x}{:016x}", h.high64, h.low64);
  }
  return SizeAndTime(status) + hash;
}

void Add(Fingerprints& found, const std::string& path, bool must) {
  struct stat status {};
  const bool there = stat(path.c_str(), &status) == 0;
  if (!there || !S_ISREG(status.st_mode) || access(path.c_str(), R_OK) != 0) {
    if (!must) return;
    throw UsageError(fmt::format("--depends '{}': {}", path,
                                 !there                    ? strerror(errno)
                                 : S_ISREG(status.st_mode) ? "it cannot be read"
                                                           : "it is no regular file"));
  }
  found[path] = FingerprintOf(path, status);
}

// The program's file, as the tasks' PATH has it on this machine.
std::string ProgramFile(const RunDefinition& definition, const std::string& name) {
  std::string path = OwnPath();
  for (const auto& [variable, value] : definition.env) {
    if (variable == "PATH") path = value;
  }
  const std::string file = FindProgram(name, path, definition.cwd);
  return file.empty() ? file : From(definition.cwd, file);
}

std::string HashPart(const std::string& fingerprint) {
  return fingerprint.substr(fingerprint.rfind(':') + 1);
}

}  // namespace

Fingerprints TakeFingerprints(const RunDefinition& definition,
                              const std::vector<std::string>& depends,
                              const std::vector<std::string>& libraries) {
  Fingerprints found;
  for (size_t i = 0; i < definition.program.size(); ++i) {
    const std::string& word = definition.program[i];
    Add(found, i == 0 ? ProgramFile(definition, word) : From(definition.cwd, word), false);
  }
  if (!definition.function.empty()) {
    Add(found, From(definition.cwd, definition.function.substr(0, definition.function.rfind(':'))),
        false);
  }
  const auto compiled = CompileCommand(definition.command, definition.columns, definition.constants,
                                       definition.shell);
  for (size_t i = 0; i < compiled.arguments.size(); ++i) {
    const auto& parts = compiled.arguments[i];
    if (definition.shell || parts.size() != 1 || !std::holds_alternative<std::string>(parts[0])) {
      continue;
    }
    const auto& word = std::get<std::string>(parts[0]);
    const std::string file = i == 0 ? ProgramFile(definition, word) : From(definition.cwd, word);
    if (!file.empty() && !word.empty()) Add(found, file, false);
  }
  for (const std::string& path : depends) Add(found, From(definition.cwd, path), true);
  for (const std::string& path : libraries) Add(found, From(definition.cwd, path), false);
  return found;
}

std::vector<std::string> Changed(const Fingerprints& before, const Fingerprints& now) {
  std::vector<std::string> changed;
  for (const auto& [path, fingerprint] : now) {
    const auto old = before.find(path);
    if (old == before.end() || old->second == fingerprint) continue;
    const std::string hash = HashPart(fingerprint);
    if (hash.empty() || hash != HashPart(old->second)) changed.push_back(path);
  }
  return changed;
}

std::string FileWatch::Look() {
  Fingerprints now;
  for (const auto& [path, fingerprint] : known_) {
    struct stat status {};
    // One that is missing may be on its way; whoever needs it will say so.
    if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    if (fingerprint.starts_with(SizeAndTime(status))) continue;
    try {
      now[path] = FingerprintOf(path, status);
    } catch (const Error&) {
      continue;
    }
  }
  const auto changed = Changed(known_, now);
  // A file that tasks write to would be told of for ever.
  for (const std::string& path : changed) known_.erase(path);
  // One that was touched alone is not read again.
  for (auto& [path, fingerprint] : now) {
    if (known_.contains(path)) known_[path] = std::move(fingerprint);
  }
  if (changed.empty()) return {};
  return fmt::format(
      "{} changed while this run goes on: what starts from now on may be another program, and the "
      "results do not tell which; the same command, called again, asks what is to be kept",
      Joined(changed, ", "));
}

// A path may hold any bytes.
std::string ToJson(const Fingerprints& fingerprints) {
  OrderedJson json = OrderedJson::array();
  for (const auto& [path, fingerprint] : fingerprints) {
    json.push_back({JsonOfBytes(path), fingerprint});
  }
  return JsonText(json);
}

Fingerprints FingerprintsFromJson(const std::string& text) {
  try {
    const auto json = ParseJson(text);
    // As it was before: an object.
    if (json.is_object()) return json.get<Fingerprints>();
    Fingerprints fingerprints;
    for (const auto& entry : json) fingerprints[BytesOfJson(entry.at(0))] = entry.at(1);
    return fingerprints;
  } catch (const OrderedJson::exception&) {
    return {};
  }
}

}  // namespace cq
