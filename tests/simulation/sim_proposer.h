#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "master/input/task_source.h"
#include "master/proposer/proposer.h"
#include "tests/simulation/timeline.h"
#include "tests/simulation/world.h"

namespace cq::sim {

/// What a proposer thinks: the same rows in the same order lead to the same.
class ProposerMind {
 public:
  explicit ProposerMind(const World& world) : world_(world) {}

  /// Of one that is told: the rows that follow from this one, and from how many it has heard of.
  std::vector<std::string> OnEnding(const std::string& row);

  // ---- of one that is asked: it wants so many rows evaluated ----
  static uint64_t Target(const World& world) { return 3 + Random(world.seed * 3 + 1).Below(30); }
  void Knows(const std::string& row, bool ended);
  bool done() const { return ended_.size() >= Target(world_); }
  /// At most so many new ones.
  std::vector<std::string> Name(uint64_t want);
  /// Of its rows some have not ended.
  bool MayWait() const { return ended_.size() < named_.size(); }

 private:
  const World& world_;
  uint64_t heard_ = 0;
  std::set<std::string> named_;
  std::set<std::string> ended_;
};

/// A proposer in the simulated world, as long as its master lives.
class SimProposer final : public Proposer {
 public:
  SimProposer(const World& world, Random& random, Timeline& timeline)
      : world_(world), random_(random), timeline_(timeline), mind_(world) {}
  ~SimProposer() override { Close(false); }

  void Listen(std::function<void(ProposerAnswer)> take) override { take_ = std::move(take); }
  void Tell(std::string line) override;
  void Close(bool) override { *alive_ = false; }

 private:
  const World& world_;
  Random& random_;
  Timeline& timeline_;
  ProposerMind mind_;
  std::function<void(ProposerAnswer)> take_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::set<uint64_t> told_;
  /// It was asked and named nothing.
  bool waits_ = false;
};

/// Where the rows are.
class SimSource final : public TaskSource {
 public:
  explicit SimSource(std::function<std::string(TaskId)> row_of) : row_of_(std::move(row_of)) {}
  const TaskRow& Get(TaskId) override { return none_; }
  void Add(AddedRow&) override {}
  std::vector<std::string> Fields(TaskId task) override { return {row_of_(task)}; }
  void Forget(const AttemptSpan&) override {}

 private:
  const std::function<std::string(TaskId)> row_of_;
  const TaskRow none_;
};

}  // namespace cq::sim
