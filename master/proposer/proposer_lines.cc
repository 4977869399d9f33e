#include "master/proposer/proposer_lines.h"

#include <fmt/format.h>

#include <cmath>

#include "base/json.h"
#include "base/json_text.h"
#include "base/text.h"
#include "master/journal/value_text.h"
#include "protocol/column_types.h"
#include "protocol/outcome_name.h"
#include "protocol/row_reader.h"

namespace cq {
namespace {

constexpr size_t kShownMax = 200;

// JSON has no NaN and no infinity.
std::string NonFinite(const char* name) { return fmt::format(R"({{"$number":"{}"}})", name); }

Value ValueOf(const std::string& text, ColumnType type) {
  // Nor other texts than these.
  if (!IsUtf8(text)) return text;
  Value value = TypedValue(text, type);
  const auto* number = std::get_if<double>(&value);
  if (number == nullptr || std::isfinite(*number)) return value;
  return Json{NonFinite(NonFiniteName(*number))};
}

// In the journal they are texts. Inside a text its quotes would stand behind a backslash.
std::string WithNumbers(std::string_view returned) {
  std::string text(returned);
  for (const char* name : {"NaN", "Inf", "-Inf"}) {
    const std::string kept = fmt::format(R"(:"{}")", name);
    const std::string told = ":" + NonFinite(name);
    size_t at = 0;
    for (; (at = text.find(kept, at)) != std::string::npos; at += told.size()) {
      text.replace(at, kept.size(), told);
    }
  }
  return text;
}

void AppendFields(std::string& out, const std::vector<std::string>& fields, const RowForm& form) {
  NamedValues row;
  row.reserve(fields.size());
  for (size_t i = 0; i < fields.size(); ++i) {
    const ColumnType type = form.types.empty() ? ColumnType::kText : form.types[i];
    row.emplace_back(form.columns[i], ValueOf(fields[i], type));
  }
  AppendJson(out, row);
}

const OrderedJson* Member(const OrderedJson& json, const char* name) {
  const auto found = json.find(name);
  return found == json.end() || found->is_null() ? nullptr : &*found;
}

std::string TextOf(const OrderedJson& json) {
  return json.is_string() ? json.get<std::string>() : ShownJson(json);
}

// The tasks that led to the rows.
std::string ReadParents(const OrderedJson* list, ProposerAnswer& answer) {
  answer.parents.assign(answer.rows.size(), 0);
  if (list == nullptr) return {};
  if (!list->is_array() || list->size() != answer.rows.size()) {
    return "'parents' must be a list, of a task for each row";
  }
  for (size_t i = 0; i < list->size(); ++i) {
    if (!(*list)[i].is_number_unsigned()) return "'parents' must be numbers of tasks";
    answer.parents[i] = (*list)[i].get<TaskId>();
    if (answer.parents[i] > INT64_MAX) return "'parents' must be numbers of tasks";
  }
  return {};
}

std::string Read(const OrderedJson& json, const RowForm& form, ProposerAnswer& answer) {
  const OrderedJson* id = json.is_object() ? Member(json, "id") : nullptr;
  if (id == nullptr || !id->is_number_unsigned()) {
    return "it must be an object with the 'id' of what it answers";
  }
  answer.id = id->get<uint64_t>();
  if (const OrderedJson* error = Member(json, "error")) {
    const OrderedJson* traceback = Member(json, "traceback");
    return TextOf(*error) + (traceback == nullptr ? "" : "\n" + TextOf(*traceback));
  }
  if (const OrderedJson* rows = Member(json, "rows")) {
    const std::string problem = ReadRows(*rows, form, answer.rows);
    if (!problem.empty()) return "its rows: " + problem;
  }
  if (const OrderedJson* done = Member(json, "done")) answer.done = *done == true;
  return ReadParents(Member(json, "parents"), answer);
}

}  // namespace

std::string StartLine(const ProposerStart& start, const RowForm& form) {
  OrderedJson types = OrderedJson::array();
  for (size_t i = 0; i < form.columns.size(); ++i) {
    types.push_back(NameOf(form.types.empty() ? ColumnType::kText : form.types[i]));
  }
  NamedValues constants;
  for (const auto& [name, text] : start.constants) {
    constants.emplace_back(name, ValueOf(text, TypeOf(text)));
  }
  std::string packed;
  AppendJson(packed, constants);
  const bool asked = start.kind == Asker::Kind::kIsAsked;
  return ShownJson({{"type", "start"},
                    {"protocol", kProposerProtocol},
                    {"mode", asked ? "ask" : "propose"},
                    {"columns", form.columns},
                    {"types", types},
                    {"constants", ParseJson(packed)},
                    {"seed", start.seed}}) +
         "\n";
}

void AppendRow(std::string& list, TaskId task, const std::vector<std::string>& fields,
               const RowForm& form) {
  fmt::format_to(std::back_inserter(list), "{}{{\"task\":{},\"row\":", list.empty() ? "" : ",",
                 task);
  AppendFields(list, fields, form);
  list += '}';
}

void AppendEnding(std::string& list, TaskId task, Outcome outcome,
                  const std::vector<std::string>& fields, std::string_view returned,
                  const RowForm& form) {
  AppendRow(list, task, fields, form);
  list.pop_back();
  fmt::format_to(std::back_inserter(list), ",\"status\":\"{}\",\"value\":{}}}",
                 OutcomeName(static_cast<int>(outcome)),
                 returned.empty() ? "{}" : WithNumbers(returned));
}

std::string TellLine(uint64_t id, const Telling& telling) {
  std::string line = fmt::format("{{\"type\":\"tell\",\"id\":{},\"want\":{},\"known\":{},", id,
                                 telling.wanted, telling.known);
  if (!telling.waiting.empty()) line += "\"waiting\":[" + telling.waiting + "],";
  line += "\"endings\":[";
  line += telling.endings;
  return line + "]}\n";
}

ProposerAnswer ReadAnswer(std::string_view line, const RowForm& form) {
  ProposerAnswer answer;
  const OrderedJson json = TryParseJson(line);
  if (json.is_discarded()) {
    answer.problem = fmt::format(
        "it wrote '{}', which is no line of JSON: what it prints for people belongs on standard "
        "error",
        CutText(PrintableText(std::string(line)), kShownMax));
    return answer;
  }
  answer.problem = Read(json, form, answer);
  if (!answer.problem.empty() && Member(json, "error") == nullptr) {
    answer.problem += fmt::format("; it answered {}", CutText(ShownJson(json), kShownMax));
  }
  return answer;
}

bool IsReady(std::string_view line, std::string& refusal) {
  const OrderedJson json = TryParseJson(line);
  if (!json.is_object()) return false;
  const auto type = json.find("type");
  if (type == json.end()) return false;
  if (*type == "refuse") {
    const OrderedJson* message = Member(json, "message");
    refusal = message == nullptr ? "it gives no reason" : TextOf(*message);
  }
  return *type == "ready" || *type == "refuse";
}

}  // namespace cq
