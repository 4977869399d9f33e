#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/support/temporary_directory.h"

namespace cq {

/// What must end "within a second" has so long: sanitizers make processes several times slower.
#ifdef CQ_SANITIZED
inline constexpr std::chrono::seconds kASecond{10};
#else
inline constexpr std::chrono::seconds kASecond{1};
#endif

/// How a process ended, and what it printed.
struct Ended {
  /// Exit status; 128 + N if signal N ended it.
  int status = -1;
  std::string out;
  std::string err;
};

/// A process of a test, in a session of its own, its output in files. It is ended with its owner.
class TestProcess {
 public:
  /// `environment` is added to this process's.
  TestProcess(const std::vector<std::string>& words, const std::string& directory,
              const std::map<std::string, std::string>& environment = {},
              const std::string& input = "/dev/null");
  TestProcess(const TestProcess&) = delete;
  TestProcess& operator=(const TestProcess&) = delete;
  ~TestProcess();

  pid_t pid() const { return pid_; }
  void Signal(int signal) const;
  /// Waits for its end; a test that waits longer than a minute fails.
  Ended Wait();
  /// What it has printed on standard error so far.
  std::string Err() const;

 private:
  TemporaryDirectory output_;
  pid_t pid_ = -1;
  bool waited_ = false;
};

/// Runs `cq` with these words in `directory` to its end.
Ended Cq(const std::vector<std::string>& words, const std::string& directory,
         const std::map<std::string, std::string>& environment = {});

/// Waits until `holds`; false after `limit`. For what gives no event of its own to wait for.
bool Eventually(const std::function<bool()>& holds,
                std::chrono::milliseconds limit = std::chrono::seconds(20));

/// Whether the process lives (a zombie does not).
bool Lives(pid_t pid);

/// The live processes whose environment has this entry, NAME=VALUE.
std::vector<pid_t> ProcessesWith(const std::string& entry);

/// The live descendants of `pid` whose command line holds `text`.
std::vector<pid_t> DescendantsWith(pid_t pid, const std::string& text);

/// How many descendants of `pid` have ended and are not reaped.
size_t ZombiesOf(pid_t pid);

/// The rows of a CSV, the header first.
std::vector<std::vector<std::string>> ReadCsv(const std::string& path);

/// One column of a CSV with a header.
std::vector<std::string> Column(const std::string& path, const std::string& name);

/// All of a file; nothing if there is none.
std::string Slurp(const std::string& path);

void WriteFile(const std::string& path, const std::string& text);
/// One that can be executed.
void WriteProgram(const std::string& path, const std::string& text);

}  // namespace cq
