#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cq/run_observer.h"
#include "master/core/employer.h"
#include "master/pools/scale.h"
#include "master/pools/worker_source.h"

namespace cq {

/// A pool, and how many workers it is to have.
struct PoolShare {
  WorkerSource* pool = nullptr;
  std::string name = "default";
  unsigned workers = 1;
  unsigned slots = 1;
  // As PoolOptions.
  std::optional<unsigned> least = {};
  Time idle_timeout{};
  Time launch_timeout = std::chrono::minutes(10);
  /// What its workers have is theirs by their number at the start: of this machine each has its
  /// part.
  bool divided = false;
  bool at_most = false;
};

/// A pool as it is at a moment, for people.
struct PoolView {
  std::string name;
  std::string scheduler;
  unsigned least = 1;
  unsigned most = 1;
  /// Workers whose jobs live; and those of them that have not started, by their scheduler's reason.
  uint64_t alive = 0;
  std::map<std::string, uint64_t> pending;
  /// Why no further worker is started, if none is.
  std::string stopped;
};

/// The pools of a run: how many workers each has as the work goes on, what became of their jobs,
/// and when nobody is left to work. On the loop's thread.
class Workforce {
 public:
  /// `open`: work may come at any time, so that workers are kept up whatever there is to do.
  Workforce(const std::vector<PoolShare>& pools, bool open);

  /// The run had workers before, under another master.
  void OnEarlierMaster() { began_ = true; }

  /// What a pool has to say; handed to On.
  struct Word {
    size_t pool = 0;
    PoolEvent event;
  };
  /// Starts the pools' threads, from which both are called, and all workers. `say` writes to
  /// `say_fd`.
  void Open(const std::function<void(Word)>& say, int say_fd,
            const std::function<bool(JournalRecord)>& write_durably);
  /// Why the run cannot go on, if it cannot. `over`: nobody is to be replaced any more.
  std::optional<std::string> On(Time now, Word& word, Employer& core, RunObserver& observer,
                                bool over);
  /// The same of the workforce as it is.
  std::optional<std::string> Problem(Employer& core, bool interrupted) const;

  /// Now and then: has as many workers as there is work for.
  void Steer(Time now, Employer& core);

  std::vector<PoolView> Look() const;
  /// From now on this pool has so many workers; an empty name is that of the only one. Of more that
  /// run, those with least to do finish what they have and leave. Returns what is wrong, if it
  /// cannot be.
  std::string Resize(const std::string& pool, uint64_t least, uint64_t most);

  /// Jobs that live, or are being submitted.
  uint64_t jobs() const;
  uint64_t pending() const;
  const std::string& pending_reason() const { return pending_reason_; }

  /// Whether all workers live without us.
  bool outlives() const;
  void PollSoon();
  /// Ends the job of a worker that was lost by its silence, if such workers are replaced.
  void EndSilent(const std::string& allocation);
  /// No further worker goes to this host. False if all of them run on this machine.
  bool Avoid(const std::string& host);
  /// As the pools' own.
  void Close(WorkerSource::End how);
  std::string Wait();

 private:
  /// What is known of a job that lives.
  struct Life {
    bool started = false;
    /// Its worker was there; and was told to go.
    bool connected = false;
    bool dismissed = false;
    /// It is being ended, since its worker was not heard for too long.
    bool given_up = false;
    /// Since when it runs and its worker is not heard; or can never start.
    std::optional<Time> unheard;
    std::optional<Time> hopeless;
  };
  struct Member {
    explicit Member(Scale of) : scale(std::move(of)) {}
    WorkerSource* pool = nullptr;
    std::string name;
    unsigned workers = 0;
    unsigned slots = 1;
    Scale scale;
    /// None: those without work stay. What it is if that changes.
    std::optional<Time> idle_timeout;
    Time idle_timeout_asked{};
    Time launch_timeout{};
    /// Not more than that, if what they have was divided among so many.
    std::optional<unsigned> divided_among;
    /// The user changed its bounds: those that leave are replaced at once.
    bool resized = false;
    /// Its jobs as last heard: those that have not ended; and workers that it was asked for and has
    /// not answered about.
    Scale::Supply supply;
    /// Why those that wait do, in their scheduler's words.
    std::map<std::string, uint64_t> reasons;
    /// Jobs that were submitted and not told of yet.
    uint64_t unlisted = 0;
    std::map<std::string, Life> lives;
    /// Of these, those whose workers were told to go; and when it was last looked who could be.
    uint64_t leaving = 0;
    std::optional<Time> looked;
    /// Of one that lends: for how many there was work when it was last told, and why no more will
    /// come, if so.
    uint64_t wanted = 0;
    std::string over;
    /// No more will come, as the core knows.
    bool closed = false;
    bool at_most = false;
    uint64_t lends = 0;
    /// Since when it waits without a worker, for what, and whether the user knows.
    Time waits_since{};
    std::string waits;
    bool told = false;
  };
  void Start(Member& member, unsigned workers);
  void Lend(Member& member, uint64_t workers);
  void LetSomeGo(Time now, Member& member, const Scale::Demand& demand, Employer& core);
  static void LetGo(Member& member, const std::string& allocation, const std::string& reason,
                    Employer& core);
  void LookForSilent(Time now, Member& member, const WorkerJob& job, Employer& core,
                     RunObserver& observer);
  void LookForHopeless(Time now, Member& member, const std::vector<WorkerJob>& jobs,
                       RunObserver& observer);
  bool Nothing(Employer& core) const;
  Scale::Demand DemandOf(size_t pool, Employer& core) const;
  void Stop(Member& member, const std::string& reason, RunObserver& observer);
  void TellOfWaiting(Time now, Member& member, const std::string& waits, RunObserver& observer);
  std::optional<std::string> OnSubmitted(Time now, Member& member, const Submitted& submitted,
                                         RunObserver& observer);
  std::optional<std::string> OnStates(Time now, Member& member, const JobStates& states,
                                      Employer& core, RunObserver& observer, bool over);
  std::optional<std::string> OnEnded(Time now, Member& member, const WorkerJob& job,
                                     const std::string& last_words, Employer& core,
                                     RunObserver& observer);

  std::vector<Member> members_;
  uint64_t workers_ = 0;
  std::string pending_reason_;
  /// There was a job.
  bool began_ = false;
  uint64_t deaths_in_a_row_ = 0;
  uint64_t done_at_last_death_ = 0;
  std::string last_death_;
};

}  // namespace cq
