#include "tests/simulation/sim_proposer.h"

#include <fmt/format.h>

#include <functional>

#include "base/json.h"

namespace cq::sim {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Its rows are a letter, the number of a generation, and one of few names: many lead to the same.
std::vector<std::string> ProposerMind::OnEnding(const std::string& row) {
  const bool own = row[0] == 'p';
  const int generation = own ? row[1] - '0' : 0;
  ++heard_;
  if (generation == 4) return {};
  Random random(world_.seed ^ std::hash<std::string>()(row) ^ (heard_ % 3 << 20));
  std::vector<std::string> rows;
  for (uint64_t more = random.Below(3); more > 0; --more) {
    rows.push_back(fmt::format("p{}-{}", generation + 1, random.Below(6)));
  }
  return rows;
}

void ProposerMind::Knows(const std::string& row, bool ended) {
  if (row[0] != 'q') return;
  named_.insert(row);
  if (ended) ended_.insert(row);
}

std::vector<std::string> ProposerMind::Name(uint64_t want) {
  std::vector<std::string> rows;
  const uint64_t target = Target(world_);
  for (; want > 0 && named_.size() < target; --want) {
    rows.push_back(fmt::format("q{}", named_.size()));
    named_.insert(rows.back());
  }
  return rows;
}

void SimProposer::Tell(std::string line) {
  const OrderedJson message = ParseJson(line);
  const bool known = message.at("known").get<bool>();
  const auto want = message.at("want").get<uint64_t>();
  const bool asked = world_.proposer == World::Proposer::kAsked;
  std::vector<std::string> rows;
  std::vector<uint64_t> parents;
  for (const OrderedJson& ending : message.at("endings")) {
    const auto task = ending.at("task").get<uint64_t>();
    const auto row = ending.at("row").at("a").get<std::string>();
    if (!told_.insert(task).second)
      throw Broken{fmt::format("the proposer hears of task {} twice", task)};
    if (asked) {
      mind_.Knows(row, true);
      continue;
    }
    if (ending.at("status") != "ok")
      throw Broken{fmt::format("the proposer hears of task {}, which is not ok", task)};
    for (std::string& one : mind_.OnEnding(row)) {
      rows.push_back(std::move(one));
      parents.push_back(task);
    }
  }
  const bool news = !message.at("endings").empty();
  if (message.contains("waiting")) {
    for (const OrderedJson& one : message.at("waiting")) {
      mind_.Knows(one.at("row").at("a").get<std::string>(), false);
    }
  }
  bool done = false;
  if (asked && !known) {
    done = mind_.done();
    // Rows that tasks push bring results, too.
    if (!done && want > 0 && waits_ && !news && mind_.MayWait() && !world_.growing)
      throw Broken{"the proposer waits, and is asked though nothing has ended"};
    waits_ = want > 0 && mind_.MayWait() && random_.Chance(200);
    if (!done && !waits_) rows = mind_.Name(want);
    // And what is known already.
    if (!rows.empty() && random_.Chance(300)) rows.push_back("q0");
  }
  OrderedJson answer = {{"id", message.at("id")}, {"rows", OrderedJson::array()}};
  for (const std::string& row : rows) answer["rows"].push_back({{"a", row}});
  if (!parents.empty()) answer["parents"] = parents;
  if (done) answer["done"] = true;
  const Time delay =
      random_.Chance(50) ? random_.Within(seconds(100)) : random_.Within(milliseconds(50));
  timeline_.At(timeline_.now() + delay, [this, alive = alive_, text = JsonText(answer)] {
    RowForm form;
    form.columns = {"a"};
    if (*alive) take_(ReadAnswer(text, form));
  });
}

}  // namespace cq::sim
