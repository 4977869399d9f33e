#pragma once

#include <limits>
#include <string>
#include <vector>

#include "protocol/codec.h"
#include "protocol/pieces.h"
#include "protocol/spans.h"

// One message of each type with something in every field, and neighbours that differ.
namespace cq {

inline Hello FullHello() {
  Hello hello;
  hello.version = "0.1.0";
  hello.path = "/usr/bin/cq";
  hello.run = 77;
  hello.worker = {1, 2, 3, 255};
  hello.epoch = 3;
  hello.host = "n1";
  hello.pid = 4711;
  hello.allocation = "slurm 12_3";
  hello.slots = 8;
  hello.capacity = 80;
  hello.problem = "no such directory";
  hello.leaving = true;
  hello.held = {{77, 5, 6, HeldState::kRunning}, {77, 7, 8, HeldState::kFinished}};
  hello.extras = {{"later", int64_t{4}}};
  return hello;
}

inline TaskResult FullResult() {
  TaskResult result;
  result.task = 1'000'000'000;
  result.attempt = MakeSerial(2, 5);
  result.slot = 7;
  result.outcome = Outcome::kTimeout;
  result.unstartable = true;
  result.started_us = 1;
  result.wall_us = 2;
  result.values = {{"nothing", std::monostate{}},
                   {"yes", true},
                   {"least", std::numeric_limits<int64_t>::min()},
                   {"tiny", std::numeric_limits<double>::denorm_min()},
                   {"text", std::string("\xff\0x", 3)},
                   {"list", Json{"[1,2]"}}};
  result.blob.Edit() = {"rds", std::string("\0\xff", 2)};
  result.details.Edit() = {-9,  "ended",          3, 4, 5, std::string("a\0b\xfe", 4),
                           "e", {{"later", true}}};
  return result;
}

inline TaskResult FullSpan() {
  auto span = For<TaskResult>({5, 6, 2});
  span.slot = 1;
  span.started_us = 1'700'000'000'000'000;
  span.wall_us = 9;
  AppendAnswer(span.answers, 4, "a value");
  AppendAnswer(span.answers, 5, std::string("\0\xff", 2));
  return span;
}

inline Task FullTask(const AttemptSpan& attempt, uint64_t number, uint64_t seed,
                     std::vector<std::string> values) {
  Task task = For<Task>(attempt);
  task.attempt_number = number;
  task.seed = seed;
  task.values = std::move(values);
  return task;
}

inline Task FullTaskSpan() {
  auto span = For<Task>({5, 6, 2});
  AppendPiece(span.rows, "a row");
  AppendPiece(span.rows, std::string("\0\xff", 2));
  return span;
}

inline std::vector<FromWorker> AllFromWorker() {
  return {FullHello(),
          Started{77, {{1, 2, 3}}},
          Results{77, {{3, 4, 1}}, {FullResult(), TaskResult{}, FullSpan()}, {1, 2, 3, 4, 5}},
          Returned{77, {{1, 2, ReturnReason::kToldToGo, -15, "SIGTERM"}}},
          WorkerHeartbeat{9, 10, "full", "its program"},
          Leaving{"SIGTERM"},
          Goodbye{"drained"},
          Output{77, {{1, 2, "out", "err"}}},
          Request{77, RequestKind::kCopy, ""}};
}

inline std::vector<ToWorker> AllToWorker() {
  Task limited = FullTask({5, 6}, 1, 8, {"b"});
  limited.group = "g";
  limited.details.Edit() = {9, "too long", {}};
  RunText text{77,
               "/run",
               "/home",
               {{"A", "b"}},
               {{{"echo"}}, {{"x"}, {int64_t{-2}}}},
               Parse::kJson,
               4,
               "true",
               5000,
               1 << 20,
               true,
               60'000,
               7,
               1000,
               {{"Rscript", "m.R"}, "lib.so:f", true, {"a"}, {ColumnType::kNumber}, {{"k", "1"}}},
               {}};
  return {Refuse{"0.1.0", "/bin/cq", "no"},
          Who{},
          Welcome{10'000, 30'000, {}},
          text,
          Assign{77,
                 {FullTask({1, 2}, 3, 4, {"a", ""}), limited, FullTask({7, 8}, 1, 0, {}),
                  FullTaskSpan()}},
          Ack{77, {{1, 2}, {3, 4, 3}, {6, 8}}},
          Retract{77, {{1, 2}}},
          Cancel{77, {{3, 4}}},
          MasterHeartbeat{5},
          Drain{"interrupted"},
          Stop{"done"},
          Reply{false, true, "no"}};
}

}  // namespace cq
