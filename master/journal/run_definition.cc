#include "master/journal/run_definition.h"

#include "base/json.h"
#include "cq/error.h"
#include "protocol/column_types.h"

namespace cq {
namespace {

OrderedJson EncodeTypes(const std::vector<ColumnType>& types) {
  OrderedJson json = OrderedJson::array();
  for (const ColumnType type : types) json.push_back(NameOf(type));
  return json;
}

template <class Pairs>
OrderedJson EncodePairs(const Pairs& pairs) {
  OrderedJson json = OrderedJson::array();
  for (const auto& [name, value] : pairs)
    json.push_back(OrderedJson::array({JsonOfBytes(name), JsonOfBytes(value)}));
  return json;
}

}  // namespace

std::map<std::string, std::string> RunDefinition::ToMeta() const {
  return {{"run", JsonText(OrderedJson(run))},
          {"command", JsonText(JsonOfList(command))},
          {"shell", JsonText(OrderedJson(shell))},
          {"program", JsonText(JsonOfList(program))},
          {"function", JsonText(JsonOfBytes(function))},
          {"calls", JsonText(OrderedJson(calls))},
          {"types", JsonText(EncodeTypes(types))},
          {"wide", JsonText(JsonOfList(wide))},
          {"constants", JsonText(EncodePairs(constants))},
          {"columns", JsonText(JsonOfList(columns))},
          {"env", JsonText(EncodePairs(env))},
          {"cwd", JsonText(JsonOfBytes(cwd))},
          {"parse_json", JsonText(OrderedJson(parse_json))},
          {"seed", JsonText(OrderedJson(seed))},
          {"seed_by", JsonText(JsonOfList(seed_by))},
          {"rows", JsonText(OrderedJson(rows))},
          {"limit", JsonText(OrderedJson(limit))},
          {"input", JsonText(JsonOfBytes(input))},
          {"pools", JsonText(JsonOfList(pools))},
          {"output", JsonText(JsonOfBytes(output))},
          {"stdout_column", JsonText(OrderedJson(stdout_column))}};
}

RunDefinition ReadDefinition(Database& journal) {
  std::map<std::string, OrderedJson> meta;
  auto rows = journal.Prepare("SELECT name, value FROM meta");
  while (rows.Step()) meta[std::string(rows.Text(0))] = ParseJson(rows.Text(1));
  RunDefinition d;
  try {
    meta.at("run").get_to(d.run);
    d.command = ListOfJson(meta.at("command"));
    meta.at("shell").get_to(d.shell);
    d.program = ListOfJson(meta.at("program"));
    d.function = BytesOfJson(meta.at("function"));
    meta.at("calls").get_to(d.calls);
    for (const auto& name : meta.at("types")) d.types.push_back(ParseColumnType(name, "types"));
    // One of an older cq does not say.
    if (meta.contains("wide")) d.wide = ListOfJson(meta.at("wide"));
    if (meta.contains("pools")) d.pools = ListOfJson(meta.at("pools"));
    for (const auto& pair : meta.at("constants"))
      d.constants[BytesOfJson(pair[0])] = BytesOfJson(pair[1]);
    d.columns = ListOfJson(meta.at("columns"));
    for (const auto& pair : meta.at("env"))
      d.env.emplace_back(BytesOfJson(pair[0]), BytesOfJson(pair[1]));
    d.cwd = BytesOfJson(meta.at("cwd"));
    meta.at("parse_json").get_to(d.parse_json);
    meta.at("seed").get_to(d.seed);
    d.seed_by = ListOfJson(meta.at("seed_by"));
    meta.at("rows").get_to(d.rows);
    meta.at("limit").get_to(d.limit);
    d.input = BytesOfJson(meta.at("input"));
    d.output = BytesOfJson(meta.at("output"));
    meta.at("stdout_column").get_to(d.stdout_column);
  } catch (const std::exception& error) {
    throw Error(std::string("the journal does not tell what the run is: ") + error.what());
  }
  if (d.calls) {
    auto count = journal.Prepare("SELECT count(*) FROM calls");
    if (count.Step()) d.rows = static_cast<uint64_t>(count.Int(0));
  }
  return d;
}

std::vector<RowRange> ReadRanges(Database& journal) {
  std::vector<RowRange> ranges;
  auto rows = journal.Prepare("SELECT position, task, rows FROM ranges ORDER BY position");
  while (rows.Step()) {
    ranges.push_back({static_cast<uint64_t>(rows.Int(0)), static_cast<TaskId>(rows.Int(1)),
                      static_cast<uint64_t>(rows.Int(2))});
  }
  return ranges;
}

}  // namespace cq
