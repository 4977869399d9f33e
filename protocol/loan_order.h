#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cq {

/// What a warm pool tells one of its workers to do with a slot: to start a worker of a run there,
/// which is the slot's as long as it lives. The one value of the task that it is sent as.
struct LoanOrder {
  /// The first words of a worker's command: `cq`, or a program that embeds the master.
  std::vector<std::string> program;
  std::string connection_file;
  /// By which the run knows the worker; and the file that takes what it prints.
  std::string allocation;
  std::string log_file;
  /// Of a run whose master is on the worker's machine: the worker ends with that process, which
  /// started then (/proc/PID/stat, field 22), holds `workers_lock` as long as it lives, and has
  /// that process's environment and nothing of ours. 0: the master is elsewhere.
  uint64_t master_pid = 0;
  uint64_t master_start = 0;
  std::string workers_lock = {};

  bool operator==(const LoanOrder&) const = default;
};

std::string LoanOrderText(const LoanOrder& order);
/// Throws Error for what is none.
LoanOrder ParseLoanOrder(const std::string& text);

}  // namespace cq
