#include "tests/simulation/world.h"

#include <fmt/format.h>

#include "master/core/fleet.h"

namespace cq::sim {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

// In so many of 1000 worlds some of it, at most so much.
uint64_t Some(Random& random, uint64_t chance, uint64_t most) {
  return random.Chance(chance) ? random.Below(most + 1) : 0;
}

}  // namespace

World Draw(uint64_t seed) {
  Random random(seed);
  World world;
  world.seed = seed;
  // Small worlds find most; every few seeds a larger one.
  world.tasks = 1 + random.Below(random.Chance(100) ? 400 : 40);
  world.workers = 1 + random.Below(4);
  world.slots = 1 + random.Below(3);
  world.lease = milliseconds(1500) + random.Within(seconds(10));
  world.crash_limit = 1 + static_cast<uint32_t>(random.Below(4));
  world.retries = static_cast<uint32_t>(random.Below(3));
  world.scheduled = random.Chance(600);
  world.fence = random.Chance(200);
  const auto some = [&](uint64_t chance, uint64_t most) { return Some(random, chance, most); };
  world.drop = some(400, 100);
  world.repeat = some(300, 100);
  world.delay = some(300, 200);
  world.cut = some(400, 100);
  world.partition = some(300, 100);
  world.kill_worker = some(500, 150);
  world.stop_worker = world.fence ? 0 : some(300, 100);
  world.tell_worker = some(200, 100);
  world.kill_master = some(400, 80);
  world.stop_master = some(200, 80);
  world.fill_disk = some(100, 50);
  world.failing = some(300, 300);
  world.flaky = some(300, 300);
  world.deadly = some(200, 100);
  world.black_hole = world.workers > 1 && random.Chance(150);
  world.slow = random.Chance(150);
  world.hungry = random.Chance(500);
  world.longest_task = random.Chance(500) ? Time(milliseconds(100)) : Time(seconds(20));
  world.out_of_reach = 2 * world.lease;
  // A fence is put to the test by workers that are cut off and live, for longer than what keeps
  // their tasks from going elsewhere, with tasks that take as long.
  if (world.fence && random.Chance(500)) {
    world.lease = milliseconds(1500) + random.Within(seconds(1));
    world.partition = 50 + random.Below(100);
    world.kill_worker = world.kill_master = world.deadly = 0;
    world.out_of_reach = 2 * world.lease + seconds(30);
    world.longest_task = seconds(60);
  }
  // And the memory of charges by masters that die between them.
  if (!world.fence && !world.scheduled && random.Chance(100)) {
    world.lethal = 500;
    world.crash_limit = 2 + static_cast<uint32_t>(random.Below(3));
    world.kill_master = 100 + random.Below(100);
    world.longest_task = seconds(10);
  }
  // In some worlds masters die and nothing else goes wrong: there every task runs once.
  if (random.Chance(100)) {
    world.drop = world.repeat = world.delay = world.cut = world.partition = world.kill_worker =
        world.stop_worker = world.tell_worker = world.stop_master = world.failing = world.flaky =
            world.deadly = 0;
    world.black_hole = world.slow = false;
    world.scheduled = true;
    world.kill_master = 1 + random.Below(80);
  }
  world.quiet_after = seconds(20) + random.Within(seconds(100));
  world.embedding = random.Chance(250);
  world.cancel = world.embedding ? some(500, 300) : 0;
  const bool calm = world.kill_master > 0 && world.drop + world.kill_worker + world.failing == 0;
  if (!calm && world.lethal == 0) world.lethal = some(250, 300);
  if (!world.embedding) {
    world.limit = random.Chance(200) ? 1 + random.Below(world.tasks) : 0;
    world.ordered = random.Chance(200);
    world.groups = random.Chance(200) ? 1 + random.Below(6) : 0;
    world.rerun = calm ? 0 : some(300, 500);
    world.edit = some(300, 500);
  }
  world.gather_acks = milliseconds(random.Chance(500) ? 100 : 0);
  // A task takes half of the longest time on average.
  const bool spans = random.Chance(500);
  if (spans) world.span_time = world.longest_task * static_cast<int64_t>(1 + random.Below(5));
  // Shorter than some are out of reach, and never than a scheduler has to explain a loss.
  world.remembered = random.Within(2 * world.out_of_reach);
  if (world.scheduled) world.remembered += kExplainWithin;
  if (!world.embedding && random.Chance(250)) world.classes = 2 + random.Below(3);
  // No task takes longer than any worker has.
  if (world.scheduled && random.Chance(200)) {
    world.life = 4 * world.longest_task + seconds(20) + random.Within(seconds(60));
  }
  if (world.classes > 0 && !calm && random.Chance(500)) world.greedy = 50 + random.Below(300);
  Random grows(seed * 41 + 3);
  world.growing = !world.embedding && grows.Chance(300);
  if (world.growing && grows.Chance(300)) world.max_tasks = 1 + grows.Below(2 * world.tasks);
  if (!world.embedding && grows.Chance(250)) {
    world.proposer = grows.Chance(500) ? World::Proposer::kTold : World::Proposer::kAsked;
  }
  return world;
}

World DrawPool(uint64_t seed) {
  World world = Draw(seed);
  Random random(seed * 31 + 7);
  world.pooled = true;
  world.embedding = false;
  world.cancel = 0;
  world.black_hole = world.slow = false;
  world.fence = false;
  world.classes = 0;
  world.greedy = 0;
  world.life = Time{};
  world.runs = 2 + random.Below(3);
  world.tasks = 1 + random.Below(random.Chance(100) ? 200 : 30);
  world.pool_workers = 1 + random.Below(3);
  world.pool_slots = 1 + random.Below(4);
  world.kill_pool = random.Chance(500) ? random.Below(60) : 0;
  world.kill_host = random.Chance(500) ? random.Below(60) : 0;
  world.takes_machine = random.Chance(300);
  world.mute = random.Chance(300) ? random.Below(30) : 0;
  // In some, one run has nothing to do with what goes wrong with others.
  world.witness = random.Chance(400);
  if (world.witness) {
    world.kill_pool = world.kill_host = world.drop = world.cut = world.mute = 0;
    world.takes_machine = false;
  }
  // Hour-long tasks beside short ones.
  world.hours = random.Chance(60);
  if (world.hours) world.lease = seconds(10);
  world.dismiss = random.Chance(500) ? random.Below(100) : 0;
  return world;
}

World DrawScaled(uint64_t seed) {
  World world = Draw(seed);
  Random random(seed * 37 + 11);
  world.scaled = world.scheduled = true;
  world.workers = 1 + random.Below(6);
  world.least = random.Chance(500) ? world.workers : random.Below(world.workers + 1);
  world.remembered += kExplainWithin;
  const auto some = [&](uint64_t chance, uint64_t most) { return Some(random, chance, most); };
  world.refuse = some(400, 500);
  world.uncertain = some(200, 300);
  world.dead_launch = some(300, 300);
  world.meddle = some(400, 50);
  world.queue_wait = random.Chance(500) ? Time(seconds(2)) : Time(seconds(100));
  world.idle_timeout = seconds(random.Chance(300) ? 0 : random.Below(60));
  world.launch_timeout = seconds(30 + random.Below(300));
  return world;
}

World RunOfPool(const World& world, uint64_t run) {
  World own = world;
  Random random(world.seed * 131 + run);
  own.seed = world.seed + (run << 32);
  own.name = fmt::format("run {}: ", run);
  own.tasks = 1 + random.Below(world.tasks);
  own.priority = static_cast<int64_t>(random.Chance(300) ? random.Below(3) : 0);
  own.groups = own.limit = 0;
  own.ordered = false;
  // Whose disk is full, whose tasks are deadly, whose master dies: not all of them.
  if (run != 1) own.fill_disk = 0;
  if (run == 2) own.deadly = own.lethal = 0;
  if (random.Chance(500)) own.kill_master = own.stop_master = 0;
  if (run == 0 && world.hours) {
    own.tasks = 1 + random.Below(4);
    own.longest_task = std::chrono::hours(1);
  }
  own.witness = world.witness && run == 0;
  if (own.witness) {
    own.repeat = own.delay = own.partition = own.kill_worker = own.stop_worker = own.tell_worker =
        own.kill_master = own.stop_master = own.fill_disk = own.failing = own.flaky = own.deadly =
            own.lethal = own.rerun = own.edit = 0;
  }
  return own;
}

std::string Describe(const World& w) {
  return fmt::format(
      "seed {}: {} tasks, {} {}workers of {} slots, lease {} ms, crash limit {}, retries {}{}; per "
      "1000: drop {}, "
      "repeat {}, delay {}, cut {}, partition {}, kill worker {}, stop worker {}, tell worker {}, "
      "kill master {}, "
      "stop master {}, full disk {}, cancel {}; tasks: failing {}, flaky {}, deadly {}, lethal {}; "
      "at a resume: rerun {}, edit {}{}{}{}{}{}{}{}{}"
      "{}{}{}{}{}",
      w.seed, w.tasks, w.workers, w.scheduled ? "scheduled " : "", w.slots,
      w.lease / milliseconds(1), w.crash_limit, w.retries, w.fence ? ", fenced" : "", w.drop,
      w.repeat, w.delay, w.cut, w.partition, w.kill_worker, w.stop_worker, w.tell_worker,
      w.kill_master, w.stop_master, w.fill_disk, w.cancel, w.failing, w.flaky, w.deadly, w.lethal,
      w.rerun, w.edit, w.black_hole ? "; a black hole" : "", w.slow ? "; a slow worker" : "",
      w.embedding ? "; a program submits them" : "", w.span_time > Time{} ? "; in spans" : "",
      !w.growing        ? ""
      : w.max_tasks > 0 ? fmt::format("; they push rows, up to {} first", w.max_tasks)
                        : "; they push rows",
      w.proposer == World::Proposer::kNone   ? ""
      : w.proposer == World::Proposer::kTold ? "; a proposer"
                                             : "; a proposer that is asked",
      w.ordered ? "; longest first" : "", w.groups > 0 ? fmt::format("; {} groups", w.groups) : "",
      w.limit > 0 ? fmt::format("; the first {} rows first", w.limit) : "",
      w.classes > 0 ? fmt::format("; {} classes, {} greedy", w.classes, w.greedy) : "",
      w.life > Time{} ? fmt::format("; workers live for {} s", w.life / seconds(1)) : "",
      !w.scaled
          ? ""
          : fmt::format("; at least {} workers, who go after {} s, jobs wait for {} s, refuse "
                        "{}, uncertain {}, dead launches {}, meddle {}",
                        w.least, w.idle_timeout / seconds(1), w.queue_wait / seconds(1), w.refuse,
                        w.uncertain, w.dead_launch, w.meddle),
      w.runs == 0 ? ""
                  : fmt::format("; {} runs on a pool of {} workers of {} slots, kill pool {}, kill "
                                "its worker {}, have it leave {}{}{}{}",
                                w.runs, w.pool_workers, w.pool_slots, w.kill_pool, w.kill_host,
                                w.dismiss, w.takes_machine ? "; deadly to machines" : "",
                                w.witness ? "; a witness" : "", w.hours ? "; hours" : ""));
}

}  // namespace cq::sim
