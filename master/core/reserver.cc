#include "master/core/reserver.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "master/core/dispatch.h"

namespace cq {
namespace {

/// A class of which none was given out for so long, and for so many times its mean, has a worker
/// kept for it.
constexpr Time kPatienceOfClass = std::chrono::minutes(1);
constexpr int64_t kPatienceInMeans = 10;

}  // namespace

void Reserver::Keep(RunCore& run) {
  if (!run.tasks_.several() || run.drained_ || run.finished_ || run.fleet_.awaiting() > 0) return;
  std::vector<ClassId> without;
  for (ClassId of = 0; of < run.classes_.size(); ++of) {
    TaskClass& waiting = run.classes_[of];
    // Those that ask for nothing fit as well as any others.
    TaskRequest asked = waiting.request;
    if (!std::exchange(asked.kind, {}).empty() && asked == TaskRequest()) continue;
    const bool waits = run.tasks_.ready_of(of) > 0;
    if (!waits) waiting.waits_since.reset();
    if (waits && !waiting.waits_since) waiting.waits_since = run.now_;
    const Time patience = std::max(kPatienceOfClass, kPatienceInMeans * waiting.pace.mean);
    const Time waited = waits ? run.now_ - *waiting.waits_since : Time{};
    auto& all = run.workers_.all();
    const auto kept = std::find_if(all.begin(), all.end(), [&](const Worker& worker) {
      return run.lane(worker).reserved == of;
    });
    if (kept == all.end()) {
      if (waited >= patience) without.push_back(of);
      continue;
    }
    // It may be that none of them can be started there: then another worker is kept.
    const bool fits = run.RoomFor(*kept, of) == Room::kNow;
    if (!fits) waiting.fits_since.reset();
    if (fits && !waiting.fits_since) waiting.fits_since = run.now_;
    const bool in_vain = fits && run.now_ - *waiting.fits_since > patience;
    const bool takes = kept->Takes() && run.IsInTime(*kept, of, run.Estimate(of), 1);
    if (waited >= patience && takes && !in_vain) continue;
    run.lane(*kept).reserved.reset();
    run.all_dirty_ = true;
    if (in_vain) waiting.waits_since = run.now_;
  }
  // Who asks for most has the least chance without.
  std::map<ClassId, uint64_t> places;
  for (const ClassId of : without) {
    for (const Worker& worker : run.workers_.all()) {
      if (!worker.Takes() || !run.Suits(worker, of)) continue;
      places[of] = std::max(places[of], worker.has.Places(run.classes_[of].request, worker.slots));
    }
  }
  std::stable_sort(without.begin(), without.end(),
                   [&](ClassId a, ClassId b) { return places[a] < places[b]; });
  for (const ClassId of : without) Reserver(run).KeepFor(run, of);
}

void Reserver::KeepFor(RunCore& run, ClassId of) const {
  const Worker* best = BestFor(of);
  if (best == nullptr) return;
  run.lane(*best).reserved = of;
  run.classes_[of].kept = best->number;
  run.classes_[of].fits_since.reset();
  run.MarkDirty(run.workers_[best->index]);
}

// Another than the one that was kept in vain; where it could begin first.
const Worker* Reserver::BestFor(ClassId of) const {
  using Rank = std::tuple<bool, Time, size_t>;
  constexpr Time kNobodyKnows = Time::max();
  std::pair<Rank, const Worker*> best;
  for (const Worker& worker : run_.workers_.all()) {
    const Lane& lane = run_.lane(worker);
    if (!worker.Takes() || lane.reserved || OnProbation(lane) || !run_.Suits(worker, of)) continue;
    if (!run_.IsInTime(worker, of, run_.Estimate(of), 1)) continue;
    const Rank rank(worker.number == run_.classes_[of].kept,
                    FreeIn(worker, of).value_or(kNobodyKnows), lane.held.size());
    if (best.second == nullptr || rank < best.first) best = {rank, &worker};
  }
  return best.second;
}

// None: nobody knows, or it takes longer than it should.
std::optional<Time> Reserver::RemainingOf(const Work& open) const {
  const Work::Out& out = *open.out();
  const Time estimate = std::max(open.past->estimate, run_.Estimate(out.of));
  const Time ran = run_.now_ - (out.run ? out.run->since : out.given);
  return estimate > ran ? std::optional(estimate - ran) : std::nullopt;
}

// When enough of what the worker has will have ended that one of this class fits in; none: nobody
// knows of all of it.
std::optional<Time> Reserver::FreeIn(const Worker& worker, ClassId of) const {
  const Lane& lane = run_.lane(worker);
  std::vector<std::pair<Time, const Work*>> ends;
  for (const Work* open : lane.held.All()) {
    const auto remaining = RemainingOf(*open);
    if (!remaining) return std::nullopt;
    ends.emplace_back(*remaining, open);
  }
  std::sort(ends.begin(), ends.end());
  const auto share = [&](ClassId one) { return worker.has.Share(run_.classes_[one].request); };
  Commitment left = lane.committed;
  uint64_t held = lane.held.size() + lane.stale.size();
  Time free{};
  for (const auto& [remaining, open] : ends) {
    if (held < worker.slots && left.Leaves(worker.has, share(of))) break;
    free = remaining;
    left.Remove(share(open->out()->of), open->count);
    held -= open->count;
  }
  return free;
}

bool Reserver::LetsBy(const Worker& worker, ClassId of) const {
  const auto& kept_for = run_.lane(worker).reserved;
  if (!kept_for || *kept_for == of) return true;
  const Time estimate = run_.Estimate(of);
  return estimate > Time{} && estimate <= FreeIn(worker, *kept_for).value_or(Time{});
}

}  // namespace cq
