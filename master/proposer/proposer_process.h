#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "base/files.h"
#include "base/mailbox.h"
#include "master/proposer/proposer.h"

namespace cq {

/// A proposer that is a program, and the pipes to it. It ends with its master, with all that it
/// started, however that ends.
class ProposerProcess final : public Proposer {
 public:
  struct Options {
    /// The program and its arguments; the file to execute.
    std::vector<std::string> words;
    std::string file;
    /// The first words of cq, which guards it.
    std::vector<std::string> cq;
    /// NAME=VALUE.
    std::vector<std::string> environment;
    std::string directory;
    /// It speaks over its standard streams; otherwise over descriptors of their own.
    bool standard_streams = false;
    /// Where what it prints for people is appended, as far as there is room for it.
    std::string log;
    RowForm form;
    ProposerStart start;
    /// Readable: whoever waits for it wants to wait no longer.
    int hurry_fd = -1;
    /// What is to be told the user while it starts.
    std::function<void(const std::string&)> note;
  };

  /// Starts it, and waits until it is ready. Throws UsageError where it cannot be started, ends, or
  /// refuses; Error where the wait is cut short.
  explicit ProposerProcess(Options options);
  ~ProposerProcess() override { Leave(false); }

  void Listen(std::function<void(ProposerAnswer)> take) override;
  void Tell(std::string line) override { orders_.Put(std::move(line)); }
  void Close(bool patiently) override { Leave(patiently); }

 private:
  struct LeaveOrder {
    bool patiently = false;
  };
  using Order = std::variant<std::string, LeaveOrder>;

  void Leave(bool patiently);
  void Spawn();
  void AwaitReady();
  void Work();
  bool TakeOrders();
  /// Waits for at most `milliseconds` (-1: for ever) until there is something, reads what there is,
  /// and writes what can be written. False once it has ended, and all is read.
  bool Exchange(int milliseconds);
  bool ReadFrom(Fd& fd, std::string& into);
  void KeepLog();
  bool TakeLine(std::string& line);
  void HandleLines();
  void Report(std::string problem);
  std::string HowItEnded(const char* when = "");
  void End();

  const Options options_;
  const std::string name_;
  pid_t pid_ = -1;
  Fd pidfd_;
  /// Closed, its guardian ends it.
  Fd life_;
  Fd to_it_, from_it_, printed_;
  Fd log_;
  size_t logged_ = 0;
  /// The end of what it printed.
  std::string last_words_;
  /// How it ended.
  std::string end_;
  bool ended_well_ = false;
  std::string unsent_, unread_, print_;
  std::optional<LeaveOrder> leave_;
  Mailbox<Order> orders_;
  std::function<void(ProposerAnswer)> take_;
  std::thread thread_;
};

}  // namespace cq
