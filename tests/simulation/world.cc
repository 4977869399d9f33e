#include "tests/simulation/world.h"

#include <fmt/format.h>

namespace cq::sim {

using std::chrono::milliseconds;
using std::chrono::seconds;

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
  const auto some = [&](uint64_t chance, uint64_t most) {
    return random.Chance(chance) ? random.Below(most + 1) : 0;
  };
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
  return world;
}

std::string Describe(const World& w) {
  return fmt::format(
      "seed {}: {} tasks, {} {}workers of {} slots, lease {} ms, crash limit {}, retries {}{}; per "
      "1000: drop {}, "
      "repeat {}, delay {}, cut {}, partition {}, kill worker {}, stop worker {}, tell worker {}, "
      "kill master {}, "
      "stop master {}, full disk {}, cancel {}; tasks: failing {}, flaky {}, deadly {}, lethal {}; "
      "at a resume: rerun {}, edit {}{}{}{}{}{}{}"
      "{}",
      w.seed, w.tasks, w.workers, w.scheduled ? "scheduled " : "", w.slots,
      w.lease / milliseconds(1), w.crash_limit, w.retries, w.fence ? ", fenced" : "", w.drop,
      w.repeat, w.delay, w.cut, w.partition, w.kill_worker, w.stop_worker, w.tell_worker,
      w.kill_master, w.stop_master, w.fill_disk, w.cancel, w.failing, w.flaky, w.deadly, w.lethal,
      w.rerun, w.edit, w.black_hole ? "; a black hole" : "", w.slow ? "; a slow worker" : "",
      w.embedding ? "; a program submits them" : "", w.span_time > Time{} ? "; in spans" : "",
      w.ordered ? "; longest first" : "", w.groups > 0 ? fmt::format("; {} groups", w.groups) : "",
      w.limit > 0 ? fmt::format("; the first {} rows first", w.limit) : "");
}

}  // namespace cq::sim
