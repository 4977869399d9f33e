#include "cli/pool_options.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <cctype>
#include <functional>
#include <map>
#include <set>
#include <sstream>

#include "base/files.h"
#include "base/nearest.h"
#include "base/quantities.h"
#include "base/text.h"
#include "cli/run_options.h"
#include "cq/error.h"
#include "master/run/run_directory.h"

namespace cq {
namespace {

using Setter = std::function<void(RunPool&, const std::string& name, const std::string& value)>;

uint64_t Count(const std::string& value, const std::string& name) {
  const uint64_t count = ParseCount(value, name, 1);
  if (count > 1'000'000) throw UsageError(fmt::format("{} {}: at most 1000000", name, value));
  return count;
}

const std::map<std::string, Setter>& Setters() {
  static const std::map<std::string, Setter> kAll = {
      {"workers",
       [](RunPool& pool, const std::string& name, const std::string& value) {
         const WorkerRange range = ParseWorkers(value, name);
         pool.workers = range.most;
         pool.workers_least = range.least;
       }},
      {"slots", [](RunPool& pool, const std::string& name,
                   const std::string& value) { pool.slots = Count(value, name); }},
      {"cpus", [](RunPool& pool, const std::string& name,
                  const std::string& value) { pool.cpus = Count(value, name); }},
      {"memory",
       [](RunPool& pool, const std::string& name, const std::string& value) {
         pool.memory_bytes = ParseMemory(value, name);
         if (*pool.memory_bytes == 0) throw UsageError(name + " 0: it must be more");
       }},
      {"time", [](RunPool& pool, const std::string& name,
                  const std::string& value) { pool.time = ParseDuration(value, name); }},
      {"idle", [](RunPool& pool, const std::string& name,
                  const std::string& value) { pool.idle_timeout = ParseDuration(value, name); }},
      {"tasks", [](RunPool& pool, const std::string& name,
                   const std::string& value) { pool.worker_tasks = ParseCount(value, name, 1); }},
      {"scheduler",
       [](RunPool& pool, const std::string&, const std::string& value) { pool.scheduler = value; }},
      {"template", [](RunPool& pool, const std::string&,
                      const std::string& value) { pool.template_file = AbsolutePath(value); }},
      {"worker-init", [](RunPool& pool, const std::string&,
                         const std::string& value) { pool.worker_init = value; }},
  };
  return kAll;
}

bool IsName(const std::string& text) {
  return !text.empty() && text.size() <= 64 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
         });
}

void SetKey(RunPool& pool, const std::string& key, const std::string& value) {
  const std::string name = fmt::format("pool '{}': {}", pool.name, key);
  if (value.empty()) throw UsageError(fmt::format("{}: it has no value", name));
  if (key.starts_with("set.")) {
    pool.template_values.insert_or_assign(key.substr(4), value);
    return;
  }
  const auto setter = Setters().find(key);
  if (setter != Setters().end()) return setter->second(pool, name, value);
  // Another name is a resource of the site: a slip in one of ours is rather that.
  std::set<std::string> known{"gpu"};
  for (const auto& [one, set] : Setters()) known.insert(one);
  const std::string near = Nearest(key, known);
  if (!IsName(key) || (!near.empty() && near != key)) {
    throw UsageError(fmt::format(
        "{}: there is no such key{}; there are {}, set.KEY, and names of "
        "resources, as in gpu=1",
        name, near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near), Joined(known, ", ")));
  }
  pool.resources[key] = ParseCount(value, name, 0);
}

std::string TextOf(const toml::node& node, const std::string& where) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{:g}", number->get());
  throw UsageError(fmt::format("{}: it must be a text or a number", where));
}

void RequireName(const std::string& name, const std::string& where) {
  if (IsName(name)) return;
  throw UsageError(fmt::format(
      "{}: a pool's name is up to 64 letters, digits, '-', '_' and '.', as in large", where));
}

}  // namespace

RunPool ParsePool(const std::string& text) {
  RunPool pool;
  const size_t colon = text.find(':');
  pool.name = text.substr(0, colon);
  RequireName(pool.name, fmt::format("--pool '{}'", text));
  std::istringstream parts(colon == std::string::npos ? "" : text.substr(colon + 1));
  for (std::string part; std::getline(parts, part, ',');) {
    const auto [key, value] = SplitPair(part, "--pool " + pool.name);
    SetKey(pool, key, value);
  }
  return pool;
}

std::vector<RunPool> ReadPools(const std::string& path) {
  std::vector<RunPool> pools;
  try {
    const toml::table file = toml::parse(ReadStream(path), path);
    for (const auto& [key, node] : file) {
      const auto* tables = node.as_table();
      if (key != "pool" || tables == nullptr) {
        throw UsageError(fmt::format("{}: '{}' is none of its tables: [pool.NAME]", path,
                                     std::string(key.str())));
      }
      for (const auto& [name, of_pool] : *tables) {
        RunPool pool;
        pool.name = std::string(name.str());
        RequireName(pool.name, fmt::format("{}: [pool.{}]", path, pool.name));
        const auto* keys = of_pool.as_table();
        if (keys == nullptr)
          throw UsageError(fmt::format("{}: pool.{} is no table", path, pool.name));
        for (const auto& [one, value] : *keys) {
          const std::string where =
              fmt::format("{}: [pool.{}] {}", path, pool.name, std::string(one.str()));
          if (const auto* set = value.as_table(); set != nullptr && one == "set") {
            for (const auto& [inner, text] : *set) {
              SetKey(pool, "set." + std::string(inner.str()), TextOf(text, where));
            }
          } else {
            SetKey(pool, std::string(one.str()), TextOf(value, where));
          }
        }
        pools.push_back(std::move(pool));
      }
    }
  } catch (const toml::parse_error& error) {
    throw UsageError(
        fmt::format("{}:{}: {}", path, error.source().begin.line, error.description()));
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    throw UsageError(fmt::format("--pools: {}", error.what()));
  }
  if (pools.empty()) throw UsageError(fmt::format("{}: it has no table [pool.NAME]", path));
  return pools;
}

}  // namespace cq
