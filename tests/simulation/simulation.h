#pragma once

#include <functional>
#include <optional>
#include <string>

#include "tests/simulation/world.h"

// The real cores of master and worker in a simulated world: its network loses, repeats, delays and
// cuts, its workers and masters are killed, stopped and resumed, its disk fills up. Everything
// follows from one seed, so that a failure replays exactly.
namespace cq::sim {

/// Runs the world to its end. Returns what broke, or nothing. `trace` gets a line for everything
/// that happens, if it is given.
/// A world with `runs` has a pool that they share.
std::optional<std::string> Run(const World& world,
                               const std::function<void(const std::string&)>& trace = {});

}  // namespace cq::sim
