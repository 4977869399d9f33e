#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cq/common_options.h"
#include "cq/run.h"
#include "master/journal/recovery.h"
#include "master/journal/run_definition.h"
#include "master/loop/master_loop.h"
#include "master/pools/pool.h"
#include "master/pools/workforce.h"
#include "master/run/fingerprints.h"
#include "master/run/run_directory.h"
#include "master/run/run_keys.h"

namespace cq {

/// What the master has open besides its workers; of each a connection, and what a local worker's
/// guardian takes.
inline constexpr uint64_t kOwnDescriptors = 128;

/// A run from its directory to its loop, wherever its tasks come from: directory, keys, journal,
/// transport, workers. The functions are called in the order in which they stand here.
class RunSession {
 public:
  /// Makes room for the descriptors of the workers. `plans`, of which there is at least one, say
  /// where the run directory is. Throws UsageError for what cannot work; starts nothing.
  RunSession(const CommonOptions& options, std::vector<PoolOptions> plans, RunObserver& observer);

  /// Whether there is a run to go on with.
  bool Exists() const { return IsRunDirectory(run_dir_) && !options_.fresh; }
  /// Makes the directory of a new run, which has no name yet, and gives the run its number and
  /// seed.
  void Make();
  /// Takes hold of the run that is there: the definition is what its journal says.
  void Open();

  RunDefinition& definition() { return definition_; }
  RunDirectory& directory() { return *directory_; }
  /// None without a journal, and once the loop has it.
  std::optional<Database>& journal() { return journal_; }
  /// Throws UsageError: what the directory has is another run, for this reason.
  [[noreturn]] void Refuse(const std::string& why) const;

  /// Throws UsageError for a text, with what all runs have in common, that a worker would refuse.
  void RequireSendable(RunText text) const;
  /// Refuses a run with other constants, or another seed than is asked for.
  void RequireSame(const std::map<std::string, std::string>& constants) const;

  /// More files that results depend on than those that the definition names.
  struct Files {
    std::vector<std::string> depends;
    std::vector<std::string> libraries;
  };
  /// A new run as it is defined: its journal is whole before the directory has its name, so that
  /// whoever finds the directory finds a run. `record`: as RunOptions.
  void Publish(const Files& files, const std::vector<RowRange>& ranges, const std::string& record);
  /// The same for one that keeps nothing.
  void PublishWithoutJournal(const Files& files);
  /// One that exists goes on, as it is defined now: the next epoch starts. `otherwise` is what runs
  /// again if nothing else is asked for. Throws UsageError where files have changed and nobody says
  /// what that means.
  void Continue(const Files& files, Restart restart, Restart::Rerun otherwise);
  Epoch epoch() const { return epoch_; }

  /// Cancels what earlier masters left with schedulers other than those of the pools, or with all.
  void CancelLeft(bool all);
  using MakeWriter = std::function<std::unique_ptr<RecordWriter>(std::optional<Database>&,
                                                                 RecordWriter::Callbacks)>;
  /// Binds, takes over what earlier masters submitted, and makes the loop. `core`, `text` in it and
  /// `loop` have what only tasks of this kind have; all that runs have in common is filled in.
  MasterLoop& Start(CoreOptions core, MasterLoop::Options loop, Recovered recovered,
                    TaskSource& tasks, const MakeWriter& make_writer);
  /// The first half of that, for a loop of another kind. `lends` as in the connection file.
  Transport Wire(Recovered& recovered, bool open, bool lends);
  Workforce& workforce() { return *workforce_; }
  void FillCommon(RunText& text) const;
  /// Whether a scheduler may name the cause of a loss after it; whether all workers are on this
  /// machine.
  bool explains_late() const;
  bool same_host() const;
  std::chrono::milliseconds lease() const { return options_.lease; }
  /// Tells the user of files that have changed while the run goes on.
  void LookAtFiles();
  /// Once the loop is closed. Keys stay where another master may go on.
  void Close(bool keep_keys);

 private:
  void CompareFiles(const Fingerprints& now);
  Transport Listen(bool lends);
  Transport::Reach ReachOfPools() const;
  void NumberPools();
  void TakeOver(Recovered& recovered);
  void FillCommon(CoreOptions& core) const;

  const CommonOptions options_;
  RunObserver& observer_;
  const std::vector<PoolOptions> plans_;
  const std::string run_dir_;
  std::vector<std::unique_ptr<Pool>> pools_;
  std::vector<PoolShare> shares_;
  RunDefinition definition_;
  std::optional<RunDirectory> directory_;
  std::optional<Database> journal_;
  Epoch epoch_ = 1;
  /// From the run's start on.
  std::optional<FileWatch> files_;
  std::unique_ptr<RunKeys> keys_;
  std::unique_ptr<Workforce> workforce_;
  std::unique_ptr<MasterLoop> loop_;
};

}  // namespace cq
