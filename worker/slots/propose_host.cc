#include "worker/slots/propose_host.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <msgpack.hpp>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "base/json_text.h"
#include "base/text.h"
#include "cq/error.h"
#include "cq/function.h"
#include "protocol/function_libraries.h"
#include "protocol/packed_values.h"
#include "protocol/pushed_rows.h"
#include "protocol/value_codec.h"
#include "worker/slots/function_library.h"
#include "worker/slots/slot_messages.h"

namespace cq {
namespace {

using Packer = msgpack::packer<msgpack::sbuffer>;

double NonFinite(const std::string& name) {
  for (const double value :
       {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()}) {
    if (name == NonFiniteName(value)) return value;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

// As a function's parameters take it. What is nested is JSON text.
void Pack(Packer& packer, const OrderedJson& value) {
  const auto text = [&](const std::string& bytes) {
    packer.pack_str(static_cast<uint32_t>(bytes.size()));
    packer.pack_str_body(bytes.data(), static_cast<uint32_t>(bytes.size()));
  };
  if (value.is_null()) {
    packer.pack_nil();
  } else if (value.is_boolean()) {
    value.get<bool>() ? packer.pack_true() : packer.pack_false();
  } else if (value.is_number_unsigned()) {
    packer.pack_uint64(value.get<uint64_t>());
  } else if (value.is_number_integer()) {
    packer.pack_int64(value.get<int64_t>());
  } else if (value.is_number_float()) {
    packer.pack_double(value.get<double>());
  } else if (value.is_string()) {
    text(value.get<std::string>());
  } else if (value.is_object() && value.contains("$number")) {
    packer.pack_double(NonFinite(value["$number"].get<std::string>()));
  } else {
    text(JsonText(value));
  }
}

// The rows of a batch of endings, each with the task that led to it.
class ProposeHost final : public detail::RowSink {
 public:
  ProposeHost(int in, int out, const Function& function) : in_(in), out_(out), function_(function) {
    for (detail::Library* library : LoadedLibraries()) {
      library->task = &current_;
      library->rows = this;
    }
  }

  int Serve() {
    std::string line;
    while (ReadLine(line)) {
      const OrderedJson message = ParseJson(line);
      const std::string type = message.at("type").get<std::string>();
      if (type == "start") Say(Start(message));
      if (type == "tell") Say(Answer(message));
    }
    return 0;
  }

 private:
  bool ReadLine(std::string& line) {
    size_t end = 0;
    size_t seen = 0;
    while ((end = unread_.find('\n', seen)) == std::string::npos) {
      seen = unread_.size();
      unread_.resize(seen + (1u << 16));
      ssize_t n = 0;
      while ((n = read(in_, unread_.data() + seen, unread_.size() - seen)) < 0 && errno == EINTR) {
      }
      unread_.resize(seen + static_cast<size_t>(std::max<ssize_t>(n, 0)));
      if (n <= 0) return false;
    }
    line = unread_.substr(0, end);
    unread_.erase(0, end + 1);
    return true;
  }

  void Say(const std::string& line) const {
    if (!WriteAll(out_, line + "\n")) std::_Exit(0);
  }

  static std::string Start(const OrderedJson&) { return R"({"type":"ready"})"; }

  std::string Answer(const OrderedJson& message) {
    const std::string id = JsonText(message.at("id"));
    rows_.clear();
    parents_.clear();
    for (const OrderedJson& ending : message.at("endings")) {
      if (Call(ending)) continue;
      return fmt::format(R"({{"id":{},"error":{}}})", id,
                         ShownJson(fmt::format("'{}' of task {}: {}", function_.name,
                                               JsonText(ending.at("task")), reason_)));
    }
    return fmt::format(R"({{"id":{},"rows":[{}],"parents":[{}]}})", id, rows_, parents_);
  }

  // False leaves the reason.
  bool Call(const OrderedJson& ending) {
    const OrderedJson& row = ending.at("row");
    const OrderedJson& value = ending.at("value");
    packed_.clear();
    Packer packer(packed_);
    packer.pack_array(function_.parameter_count);
    for (uint32_t i = 0; i < function_.parameter_count; ++i) {
      const char* name = function_.parameters[i].name;
      const auto& from = row.contains(name) ? row : value;
      if (!from.contains(name)) {
        reason_ = fmt::format("there is no '{}' in its row or result", name);
        return false;
      }
      Pack(packer, from.at(name));
    }
    arguments_.clear();
    const auto& array = unpacker_.Unpack({packed_.data(), packed_.size()}).via.array;
    for (uint32_t i = 0; i < array.size; ++i) arguments_.push_back(&array.ptr[i]);
    reader_.Start(arguments_);
    current_.task = ending.at("task").get<uint64_t>();
    value_.clear();
    begun_.clear();
    pushed_.clear();
    const bool ok = function_.call(
        reader_, writer_,
        [](void* context, const char* bytes, size_t size) {
          static_cast<std::string*>(context)->assign(bytes, size);
        },
        &reason_);
    if (ok) TakeRows();
    return ok;
  }

  Encoder& Next() override {
    begun_.push_back(pushed_.size());
    return row_writer_;
  }

  void TakeRows() {
    for (size_t i = 0; i < begun_.size(); ++i) {
      const size_t end = i + 1 < begun_.size() ? begun_[i + 1] : pushed_.size();
      const std::string_view packed(pushed_.data() + begun_[i], end - begun_[i]);
      if (!rows_.empty()) rows_ += ',';
      if (!parents_.empty()) parents_ += ',';
      AppendJsonRow(rows_, UnpackValues(packed));
      parents_ += std::to_string(current_.task);
    }
  }

  const int in_;
  const int out_;
  const Function& function_;
  std::string unread_;
  /// What the function sees as cq::task().
  TaskInfo current_;
  std::string rows_;
  std::string parents_;
  std::string reason_;
  msgpack::sbuffer packed_;
  Unpacker unpacker_;
  std::vector<const msgpack::object*> arguments_;
  ValueReader reader_;
  msgpack::sbuffer value_;
  ValueWriter writer_{value_};
  /// Records, and where each begins.
  msgpack::sbuffer pushed_;
  std::vector<size_t> begun_;
  ValueWriter row_writer_{pushed_};
};

}  // namespace

bool IsProposer() { return getenv("CQ_ASK_IN") != nullptr && getenv("CQ_SLOT_IN") == nullptr; }

int ServeProposer(const std::string& name) {
  const auto [in, out] = TakePipes("CQ_ASK_IN", "CQ_ASK_OUT");
  const Function& function = LoadFunction(name, FunctionRole::kProposer);
  for (uint32_t i = 0; i < function.parameter_count; ++i) {
    if (function.parameters[i].name != nullptr) continue;
    throw UsageError(fmt::format(
        "CQ_PROPOSE names {} columns for '{}', which takes {}: it must name one for each", i,
        function.name, function.parameter_count));
  }
  return ProposeHost(in, out, function).Serve();
}

}  // namespace cq
