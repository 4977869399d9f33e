#include "tests/support/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/files.h"
#include "master/input/csv_reader.h"

extern char** environ;

namespace cq {
namespace {

namespace fs = std::filesystem;

struct Stat {
  char state = 0;
  pid_t parent = 0;
};

Stat StatOf(pid_t pid) {
  const std::string text = Slurp("/proc/" + std::to_string(pid) + "/stat");
  Stat stat;
  const size_t close = text.rfind(')');
  if (close == std::string::npos) return stat;
  std::istringstream rest(text.substr(close + 1));
  rest >> stat.state >> stat.parent;
  return stat;
}

std::vector<pid_t> AllPids() {
  std::vector<pid_t> pids;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; })) {
      pids.push_back(std::stoi(name));
    }
  }
  return pids;
}

std::vector<pid_t> Descendants(pid_t root) {
  std::multimap<pid_t, pid_t> children;
  for (const pid_t pid : AllPids()) children.emplace(StatOf(pid).parent, pid);
  std::vector<pid_t> family{root};
  for (size_t i = 0; i < family.size(); ++i) {
    const auto [first, last] = children.equal_range(family[i]);
    for (auto it = first; it != last; ++it) family.push_back(it->second);
  }
  family.erase(family.begin());
  return family;
}

}  // namespace

TestProcess::TestProcess(const std::vector<std::string>& words, const std::string& directory,
                         const std::map<std::string, std::string>& environment,
                         const std::string& input) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, input.c_str(), O_RDONLY, 0);
  const int flags = O_WRONLY | O_CREAT | O_APPEND;
  posix_spawn_file_actions_addopen(&actions, 1, output_.File("out").c_str(), flags, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, output_.File("err").c_str(), flags, 0600);
  posix_spawn_file_actions_addchdir_np(&actions, directory.c_str());
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  std::vector<std::string> argument_words = words;
  std::vector<char*> argv;
  for (std::string& word : argument_words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::vector<std::string> environment_words;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!environment.contains(text.substr(0, text.find('=')))) environment_words.push_back(text);
  }
  for (const auto& [name, value] : environment) environment_words.push_back(name + "=" + value);
  std::vector<char*> envp;
  for (std::string& word : environment_words) envp.push_back(word.data());
  envp.push_back(nullptr);
  const int error = posix_spawnp(&pid_, argv[0], &actions, &attributes, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) throw std::runtime_error("cannot start " + words[0]);
}

TestProcess::~TestProcess() {
  if (waited_) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void TestProcess::Signal(int signal) const { kill(pid_, signal); }

Ended TestProcess::Wait() {
  int status = 0;
  const bool ended =
      Eventually([&] { return waitpid(pid_, &status, WNOHANG) == pid_; }, std::chrono::seconds(60));
  EXPECT_TRUE(ended) << "still running after a minute: " << Err();
  if (!ended) return {};
  waited_ = true;
  Ended result;
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = Slurp(output_.File("out"));
  result.err = Err();
  return result;
}

std::string TestProcess::Err() const { return Slurp(output_.File("err")); }

Ended Cq(const std::vector<std::string>& words, const std::string& directory,
         const std::map<std::string, std::string>& environment) {
  std::vector<std::string> all = {CQ_PROGRAM};
  all.insert(all.end(), words.begin(), words.end());
  return TestProcess(all, directory, environment).Wait();
}

bool Eventually(const std::function<bool()>& holds, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

bool Lives(pid_t pid) {
  const char state = StatOf(pid).state;
  return state != 0 && state != 'Z' && state != 'X';
}

std::vector<pid_t> ProcessesWith(const std::string& entry) {
  std::vector<pid_t> found;
  for (const pid_t pid : AllPids()) {
    const std::string text =
        std::string(1, '\0') + Slurp("/proc/" + std::to_string(pid) + "/environ");
    if (text.find(std::string(1, '\0') + entry + std::string(1, '\0')) == std::string::npos)
      continue;
    if (Lives(pid)) found.push_back(pid);
  }
  return found;
}

std::vector<pid_t> DescendantsWith(pid_t root, const std::string& text) {
  std::vector<pid_t> found;
  for (const pid_t pid : Descendants(root)) {
    std::string line = Slurp("/proc/" + std::to_string(pid) + "/cmdline");
    std::replace(line.begin(), line.end(), '\0', ' ');
    if (line.find(text) != std::string::npos && Lives(pid)) found.push_back(pid);
  }
  return found;
}

size_t ZombiesOf(pid_t root) {
  const auto family = Descendants(root);
  return static_cast<size_t>(std::count_if(family.begin(), family.end(),
                                           [](pid_t pid) { return StatOf(pid).state == 'Z'; }));
}

std::vector<std::vector<std::string>> ReadCsv(const std::string& path) {
  CsvReader reader(Fd(open(path.c_str(), O_RDONLY | O_CLOEXEC)), path);
  std::vector<std::vector<std::string>> rows;
  for (CsvRow row; reader.Next(row);) rows.push_back(row.fields);
  return rows;
}

std::vector<std::string> Column(const std::string& path, const std::string& name) {
  const auto rows = ReadCsv(path);
  std::vector<std::string> values;
  if (rows.empty()) return values;
  const auto found = std::find(rows[0].begin(), rows[0].end(), name);
  EXPECT_NE(found, rows[0].end()) << "no column " << name;
  if (found == rows[0].end()) return values;
  const auto index = static_cast<size_t>(found - rows[0].begin());
  for (size_t i = 1; i < rows.size(); ++i) values.push_back(rows[i].at(index));
  return values;
}

std::string Slurp(const std::string& path) {
  // Not by iterators: they throw for a file of /proc whose process ends meanwhile.
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

void WriteProgram(const std::string& path, const std::string& text) {
  WriteFile(path, text);
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}

}  // namespace cq
