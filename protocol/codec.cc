#include "protocol/codec.h"

#include <fmt/format.h>

#include <msgpack.hpp>
#include <tuple>
#include <type_traits>

#include "protocol/json_record.h"
#include "protocol/limits.h"
#include "protocol/msgpack_double.h"
#include "protocol/spans.h"

namespace cq {
namespace {

// ---- the fields of each structure, in the order of PROTOCOL.md, for both directions ----

template <class M, class T>
concept Is = std::is_same_v<std::remove_const_t<M>, T>;

// Two fields of a message that hold one list: what goes by itself, and what goes as a span.
template <class List>
struct SinglesOf {
  List& list;
};
template <class List>
struct SpansOf {
  List& list;
};
template <class List>
auto Singles(List& list) {
  return std::tuple(SinglesOf<List>{list});
}
template <class List>
auto Spans(List& list) {
  return std::tuple(SpansOf<List>{list});
}
bool IsSpan(const Task& task) { return !task.rows.empty(); }
bool IsSpan(const TaskResult& result) { return !result.answers.empty(); }
template <Is<Task> M>
auto SpanFields(M& m) {
  return std::tie(m.task, m.attempt, m.count, m.rows);
}
template <Is<TaskResult> M>
auto SpanFields(M& m) {
  return std::tie(m.task, m.attempt, m.count, m.slot, m.started_us, m.wall_us, m.answers);
}

template <Is<AttemptRef> M>
auto Fields(M& m) {
  return std::tie(m.task, m.attempt);
}
template <Is<StartedAttempt> M>
auto Fields(M& m) {
  return std::tie(m.task, m.attempt, m.slot);
}
template <Is<ReturnedAttempt> M>
auto Fields(M& m) {
  return std::tie(m.task, m.attempt, m.reason, m.exit, m.text);
}
template <Is<Held> M>
auto Fields(M& m) {
  return std::tie(m.run, m.task, m.attempt, m.state);
}
template <Is<TaskResult> M>
auto Fields(M& m) {
  return std::tie(m.task, m.attempt, m.slot, m.outcome, m.started_us, m.wall_us, m.values, m.blob,
                  m.unstartable, m.details);
}
template <Is<Blob> M>
auto Fields(M& m) {
  return std::tie(m.format, m.bytes);
}
template <Is<ResultDetails> M>
auto Fields(M& m) {
  return std::tie(m.exit, m.error, m.user_us, m.system_us, m.max_rss_kb, m.out, m.err, m.extras);
}
template <Is<Task> M>
auto Fields(M& m) {
  return std::tie(m.task, m.attempt, m.attempt_number, m.seed, m.values, m.group, m.details);
}
template <Is<TaskDetails> M>
auto Fields(M& m) {
  return std::tie(m.timeout_ms, m.problem, m.extras);
}
template <Is<Hello> M>
auto Fields(M& m) {
  return std::tie(m.version, m.path, m.run, m.worker, m.epoch, m.host, m.pid, m.allocation, m.slots,
                  m.capacity, m.problem, m.leaving, m.held, m.extras);
}
template <Is<Started> M>
auto Fields(M& m) {
  return std::tie(m.run, m.attempts);
}
template <Is<Results> M>
auto Fields(M& m) {
  return std::tuple_cat(std::tie(m.run, m.started), Singles(m.results), std::tie(m.ledger),
                        Spans(m.results));
}
template <Is<SlotLedger> M>
auto Fields(M& m) {
  return std::tie(m.tasks, m.idle_us, m.queue_us, m.spawn_us, m.run_us);
}
template <Is<Returned> M>
auto Fields(M& m) {
  return std::tie(m.run, m.attempts);
}
template <Is<WorkerHeartbeat> M>
auto Fields(M& m) {
  return std::tie(m.received, m.capacity, m.problem, m.waits_for);
}
template <Is<Leaving> M>
auto Fields(M& m) {
  return std::tie(m.reason);
}
template <Is<Goodbye> M>
auto Fields(M& m) {
  return std::tie(m.reason);
}
template <Is<OutputPart> M>
auto Fields(M& m) {
  return std::tie(m.task, m.attempt, m.out, m.err);
}
template <Is<Output> M>
auto Fields(M& m) {
  return std::tie(m.run, m.parts);
}
template <Is<Request> M>
auto Fields(M& m) {
  return std::tie(m.run, m.kind, m.text);
}
template <Is<Reply> M>
auto Fields(M& m) {
  return std::tie(m.ok, m.more, m.text);
}
template <Is<Refuse> M>
auto Fields(M& m) {
  return std::tie(m.version, m.path, m.text);
}
template <Is<Who> M>
auto Fields(M&) {
  return std::tuple<>();
}
template <Is<Welcome> M>
auto Fields(M& m) {
  return std::tie(m.heartbeat_ms, m.lease_ms, m.extras);
}
template <Is<RunText> M>
auto Fields(M& m) {
  return std::tie(m.run, m.run_dir, m.cwd, m.env, m.command, m.parse, m.cpus, m.check, m.timeout_ms,
                  m.memory_bytes, m.fence, m.on_master_loss_ms, m.chunk, m.tasks, m.program,
                  m.extras);
}
template <Is<Program> M>
auto Fields(M& m) {
  return std::tie(m.words, m.function, m.calls, m.columns, m.types, m.constants);
}
template <Is<Assign> M>
auto Fields(M& m) {
  return std::tuple_cat(std::tie(m.run), Singles(m.tasks), Spans(m.tasks));
}
template <Is<Ack> M>
auto Fields(M& m) {
  return std::tie(m.run, m.attempts);
}
template <Is<Retract> M>
auto Fields(M& m) {
  return std::tie(m.run, m.attempts);
}
template <Is<Cancel> M>
auto Fields(M& m) {
  return std::tie(m.run, m.attempts);
}
template <Is<MasterHeartbeat> M>
auto Fields(M& m) {
  return std::tie(m.received);
}
template <Is<Drain> M>
auto Fields(M& m) {
  return std::tie(m.reason);
}
template <Is<Stop> M>
auto Fields(M& m) {
  return std::tie(m.reason);
}

// Of what comes in thousands the last fields are left out as far as they are as in a new one.
template <class T>
inline constexpr bool kIsShortened =
    std::is_same_v<T, TaskResult> || std::is_same_v<T, Blob> || std::is_same_v<T, ResultDetails> ||
    std::is_same_v<T, Task> || std::is_same_v<T, TaskDetails>;

template <class T>
inline constexpr size_t kFieldCount = std::tuple_size_v<decltype(Fields(std::declval<T&>()))>;

template <class T, size_t count = kFieldCount<T>>
size_t FieldsInUse(const T& value) {
  if constexpr (count == 0) {
    return 0;
  } else {
    static const T fresh;
    const bool used = std::get<count - 1>(Fields(value)) != std::get<count - 1>(Fields(fresh));
    return used ? count : FieldsInUse<T, count - 1>(value);
  }
}

// ---- type numbers ----

template <class M>
inline constexpr uint64_t kType = 0;
template <>
inline constexpr uint64_t kType<Hello> = 1;
template <>
inline constexpr uint64_t kType<Started> = 2;
template <>
inline constexpr uint64_t kType<Results> = 3;
template <>
inline constexpr uint64_t kType<Returned> = 4;
template <>
inline constexpr uint64_t kType<WorkerHeartbeat> = 5;
template <>
inline constexpr uint64_t kType<Leaving> = 6;
template <>
inline constexpr uint64_t kType<Goodbye> = 7;
template <>
inline constexpr uint64_t kType<Output> = 8;
template <>
inline constexpr uint64_t kType<Request> = 9;
template <>
inline constexpr uint64_t kType<Refuse> = 0;
template <>
inline constexpr uint64_t kType<Who> = 64;
template <>
inline constexpr uint64_t kType<Welcome> = 65;
template <>
inline constexpr uint64_t kType<RunText> = 66;
template <>
inline constexpr uint64_t kType<Assign> = 67;
template <>
inline constexpr uint64_t kType<Ack> = 68;
template <>
inline constexpr uint64_t kType<Retract> = 69;
template <>
inline constexpr uint64_t kType<Cancel> = 70;
template <>
inline constexpr uint64_t kType<MasterHeartbeat> = 71;
template <>
inline constexpr uint64_t kType<Drain> = 72;
template <>
inline constexpr uint64_t kType<Stop> = 73;
template <>
inline constexpr uint64_t kType<Reply> = 74;

constexpr int8_t kJsonExtension = 1;
// Version, type, session, sequence.
constexpr uint32_t kHead = 4;

// ---- packing ----

using Buffer = msgpack::sbuffer;
struct Packer : msgpack::packer<Buffer> {
  explicit Packer(Buffer& to) : msgpack::packer<Buffer>(to), buffer(to) {}
  Buffer& buffer;
};

template <class T>
concept HasFields = requires(T& t) {
  Fields(t);
};

template <class T>
inline constexpr bool kIsList = false;
template <class T>
inline constexpr bool kIsList<std::vector<T>> = true;
template <class T>
inline constexpr bool kIsPair = false;
template <class A, class B>
inline constexpr bool kIsPair<std::pair<A, B>> = true;
template <class T>
inline constexpr bool kIsAttempts =
    std::is_same_v<T, std::vector<AttemptRef>> || std::is_same_v<T, std::vector<AttemptSpan>>;
template <class T>
inline constexpr bool kIsSingles = false;
template <class List>
inline constexpr bool kIsSingles<SinglesOf<List>> = true;
template <class T>
inline constexpr bool kIsSpans = false;
template <class List>
inline constexpr bool kIsSpans<SpansOf<List>> = true;
template <class T>
inline constexpr bool kIsRare = false;
template <class T>
inline constexpr bool kIsRare<Rarely<T>> = true;

template <class T>
void Pack(Packer& p, const T& value);

void PackText(Packer& p, std::string_view text) {
  p.pack_str(static_cast<uint32_t>(text.size()));
  p.pack_str_body(text.data(), static_cast<uint32_t>(text.size()));
}

void PackValue(Packer& p, const Value& value) {
  struct {
    Packer& p;
    void operator()(std::monostate) { p.pack_nil(); }
    void operator()(bool b) { b ? p.pack_true() : p.pack_false(); }
    void operator()(int64_t i) { p.pack_int64(i); }
    void operator()(double d) { WriteDouble(p.buffer, d); }
    void operator()(const std::string& s) { PackText(p, s); }
    void operator()(const Json& j) {
      p.pack_ext(j.text.size(), kJsonExtension);
      p.pack_ext_body(j.text.data(), static_cast<uint32_t>(j.text.size()));
    }
  } visitor{p};
  std::visit(visitor, value);
}

void PackPart(Packer& p, const CommandPart& part) {
  if (const auto* text = std::get_if<std::string>(&part)) {
    PackText(p, *text);
  } else {
    p.pack_int64(std::get<int64_t>(part));
  }
}

template <class T>
void PackFields(Packer& p, const T& value) {
  std::apply([&p](const auto&... field) { (Pack(p, field), ...); }, Fields(value));
}

AttemptSpan SpanOf(const AttemptRef& ref) { return {ref.task, ref.attempt, 1}; }
AttemptSpan SpanOf(const AttemptSpan& span) { return span; }

// Attempts that follow each other, as those of one batch do, are one entry: [task, attempt, count].
template <class T>
void PackAttempts(Packer& p, const std::vector<T>& attempts) {
  std::vector<AttemptSpan> spans;
  for (const T& attempt : attempts) {
    const AttemptSpan next = SpanOf(attempt);
    if (!spans.empty()) {
      AttemptSpan& last = spans.back();
      if (next.task == last.task + last.count && next.attempt == last.attempt + last.count) {
        last.count += next.count;
        continue;
      }
    }
    spans.push_back(next);
  }
  p.pack_array(static_cast<uint32_t>(spans.size()));
  for (const AttemptSpan& span : spans) {
    p.pack_array(3);
    p.pack_uint64(span.task);
    p.pack_uint64(span.attempt);
    p.pack_uint64(span.count);
  }
}

// As many of the list as are of this kind.
template <class List, class PackOne>
void PackSome(Packer& p, const List& list, bool spans, const PackOne& pack) {
  const auto wanted = [spans](const auto& entry) { return IsSpan(entry) == spans; };
  p.pack_array(static_cast<uint32_t>(std::count_if(list.begin(), list.end(), wanted)));
  for (const auto& entry : list) {
    if (wanted(entry)) pack(entry);
  }
}

template <class T>
void Pack(Packer& p, const T& value) {
  if constexpr (std::is_enum_v<T>) {
    p.pack_uint64(static_cast<uint64_t>(value));
  } else if constexpr (std::is_same_v<T, bool>) {
    value ? p.pack_true() : p.pack_false();
  } else if constexpr (std::is_same_v<T, int64_t>) {
    p.pack_int64(value);
  } else if constexpr (std::is_unsigned_v<T>) {
    p.pack_uint64(value);
  } else if constexpr (std::is_same_v<T, std::string>) {
    PackText(p, value);
  } else if constexpr (std::is_same_v<T, WorkerId>) {
    p.pack_bin(static_cast<uint32_t>(value.size()));
    p.pack_bin_body(reinterpret_cast<const char*>(value.data()),
                    static_cast<uint32_t>(value.size()));
  } else if constexpr (std::is_same_v<T, Value>) {
    PackValue(p, value);
  } else if constexpr (std::is_same_v<T, CommandPart>) {
    PackPart(p, value);
  } else if constexpr (kIsRare<T>) {
    Pack(p, *value);
  } else if constexpr (kIsSingles<T>) {
    PackSome(p, value.list, false, [&p](const auto& entry) { Pack(p, entry); });
  } else if constexpr (kIsSpans<T>) {
    PackSome(p, value.list, true, [&p](const auto& entry) {
      const auto fields = SpanFields(entry);
      p.pack_array(static_cast<uint32_t>(std::tuple_size_v<decltype(fields)>));
      std::apply([&p](const auto&... field) { (Pack(p, field), ...); }, fields);
    });
  } else if constexpr (kIsPair<T>) {
    p.pack_array(2);
    Pack(p, value.first);
    Pack(p, value.second);
  } else if constexpr (kIsAttempts<T>) {
    PackAttempts(p, value);
  } else if constexpr (kIsList<T>) {
    p.pack_array(static_cast<uint32_t>(value.size()));
    for (const auto& entry : value) Pack(p, entry);
  } else if constexpr (kIsShortened<T>) {
    size_t left = FieldsInUse(value);
    p.pack_array(static_cast<uint32_t>(left));
    const auto pack = [&](const auto& field) { return left-- > 0 && (Pack(p, field), true); };
    std::apply([&](const auto&... field) { (pack(field) && ...); }, Fields(value));
  } else {
    p.pack_array(static_cast<uint32_t>(kFieldCount<T>));
    PackFields(p, value);
  }
}

template <class Variant>
std::string EncodeVariant(Envelope envelope, const Variant& message) {
  Buffer buffer;
  Packer p(buffer);
  std::visit(
      [&p, envelope]<class M>(const M& m) {
        p.pack_array(static_cast<uint32_t>(kHead + kFieldCount<M>));
        p.pack_uint64(kProtocolVersion);
        p.pack_uint64(kType<M>);
        p.pack_uint64(envelope.session);
        p.pack_uint64(envelope.sequence);
        PackFields(p, m);
      },
      message);
  return {buffer.data(), buffer.size()};
}

// ---- unpacking: every function returns false for what does not fit ----

using Object = msgpack::object;
namespace type = msgpack::type;

template <class T>
bool Unpack(const Object& o, T& value);

bool UnpackUnsigned(const Object& o, uint64_t& value) {
  if (o.type != type::POSITIVE_INTEGER) return false;
  value = o.via.u64;
  return true;
}

bool UnpackSigned(const Object& o, int64_t& value) {
  if (o.type == type::NEGATIVE_INTEGER) {
    value = o.via.i64;
    return true;
  }
  if (o.type != type::POSITIVE_INTEGER || o.via.u64 > INT64_MAX) return false;
  value = static_cast<int64_t>(o.via.u64);
  return true;
}

bool UnpackText(const Object& o, std::string& value) {
  if (o.type != type::STR) return false;
  value.assign(o.via.str.ptr, o.via.str.size);
  return true;
}

bool UnpackValue(const Object& o, Value& value) {
  switch (o.type) {
    case type::NIL:
      value = std::monostate{};
      return true;
    case type::BOOLEAN:
      value = o.via.boolean;
      return true;
    case type::FLOAT32:
    case type::FLOAT64:
      value = o.via.f64;
      return true;
    case type::STR:
      return UnpackText(o, value.emplace<std::string>());
    case type::EXT:
      // It goes into the journal as it is.
      if (o.via.ext.type() != kJsonExtension || !IsJson({o.via.ext.data(), o.via.ext.size})) {
        return false;
      }
      value = Json{std::string(o.via.ext.data(), o.via.ext.size)};
      return true;
    default:
      return UnpackSigned(o, value.emplace<int64_t>());
  }
}

void Add(std::vector<AttemptSpan>& spans, const AttemptSpan& span) {
  if (span.count > 0) spans.push_back(span);
}
void Add(std::vector<AttemptRef>& refs, const AttemptSpan& span) {
  for (uint64_t i = 0; i < span.count; ++i) refs.push_back({span.task + i, span.attempt + i});
}

template <class T>
bool UnpackAttempts(const Object& o, std::vector<T>& attempts) {
  uint64_t left = kHeldMax;
  for (const Object& entry : o.via.array) {
    AttemptSpan span;
    if (entry.type != type::ARRAY || entry.via.array.size != 3 ||
        !UnpackUnsigned(entry.via.array.ptr[0], span.task) ||
        !UnpackUnsigned(entry.via.array.ptr[1], span.attempt) ||
        !UnpackUnsigned(entry.via.array.ptr[2], span.count) || span.count > left) {
      return false;
    }
    left -= span.count;
    Add(attempts, span);
  }
  return true;
}

template <class E>
constexpr uint64_t EnumSize() {
  if constexpr (std::is_same_v<E, Outcome>) return kOutcomes;
  if constexpr (std::is_same_v<E, HeldState>) return 3;
  if constexpr (std::is_same_v<E, ReturnReason>) return 4;
  if constexpr (std::is_same_v<E, RequestKind>) return 8;
  if constexpr (std::is_same_v<E, Parse>) return 2;
  if constexpr (std::is_same_v<E, ColumnType>) return 4;
}

template <class Tuple>
bool UnpackAll(const Object* o, Tuple fields) {
  return std::apply([&o](auto&... field) { return (Unpack(*o++, field) && ...); }, fields);
}

template <class T>
bool UnpackFields(const Object* o, T& value) {
  return UnpackAll(o, Fields(value));
}

template <class T>
bool UnpackSpan(const Object& o, T& value) {
  using Tuple = decltype(SpanFields(value));
  return o.type == type::ARRAY && o.via.array.size == std::tuple_size_v<Tuple> &&
         UnpackAll(o.via.array.ptr, SpanFields(value)) && IsWhole(value);
}

template <class T>
bool Unpack(const Object& o, T& value) {
  if constexpr (std::is_enum_v<T>) {
    uint64_t number = 0;
    if (!UnpackUnsigned(o, number) || number >= EnumSize<T>()) return false;
    value = static_cast<T>(number);
    return true;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (o.type != type::BOOLEAN) return false;
    value = o.via.boolean;
    return true;
  } else if constexpr (std::is_same_v<T, int64_t>) {
    return UnpackSigned(o, value);
  } else if constexpr (std::is_same_v<T, uint64_t>) {
    return UnpackUnsigned(o, value);
  } else if constexpr (std::is_same_v<T, std::string>) {
    return UnpackText(o, value);
  } else if constexpr (std::is_same_v<T, WorkerId>) {
    if (o.type != type::BIN || o.via.bin.size != value.size()) return false;
    std::copy_n(o.via.bin.ptr, value.size(), value.begin());
    return true;
  } else if constexpr (std::is_same_v<T, Value>) {
    return UnpackValue(o, value);
  } else if constexpr (std::is_same_v<T, CommandPart>) {
    if (o.type == type::STR) return UnpackText(o, value.template emplace<std::string>());
    return UnpackSigned(o, value.template emplace<int64_t>());
  } else if constexpr (kIsRare<T>) {
    return Unpack(o, value.Edit());
  } else if (o.type != type::ARRAY) {
    return false;
  } else if constexpr (kIsPair<T>) {
    return o.via.array.size == 2 && Unpack(o.via.array.ptr[0], value.first) &&
           Unpack(o.via.array.ptr[1], value.second);
  } else if constexpr (kIsAttempts<T>) {
    return UnpackAttempts(o, value);
  } else if constexpr (kIsSingles<T>) {
    return Unpack(o, value.list);
  } else if constexpr (kIsSpans<T>) {
    value.list.reserve(value.list.size() + o.via.array.size);
    for (const Object& entry : o.via.array) {
      if (!UnpackSpan(entry, value.list.emplace_back())) return false;
    }
    return true;
  } else if constexpr (kIsList<T>) {
    value.resize(o.via.array.size);
    for (uint32_t i = 0; i < o.via.array.size; ++i) {
      if (!Unpack(o.via.array.ptr[i], value[i])) return false;
    }
    return true;
  } else if constexpr (kIsShortened<T>) {
    const Object* next = o.via.array.ptr;
    const Object* end = next + o.via.array.size;
    const auto unpack = [&](auto& field) { return next == end || Unpack(*next++, field); };
    return o.via.array.size <= kFieldCount<T> &&
           std::apply([&](auto&... field) { return (unpack(field) && ...); }, Fields(value));
  } else {
    return o.via.array.size == kFieldCount<T> && UnpackFields(o.via.array.ptr, value);
  }
}

// Tries the message types of the variant in turn.
template <class Variant, size_t I = 0>
std::variant<Decoded<Variant>, DecodeError> UnpackMessage(uint64_t number, Envelope envelope,
                                                          const Object* fields, uint32_t size) {
  if constexpr (I == std::variant_size_v<Variant>) {
    return DecodeError{fmt::format("unknown message type {}", number), {}, {}, {}};
  } else {
    using M = std::variant_alternative_t<I, Variant>;
    if (number != kType<M>) return UnpackMessage<Variant, I + 1>(number, envelope, fields, size);
    M message;
    if (size != kFieldCount<M> || !UnpackFields(fields, message)) {
      return DecodeError{fmt::format("message of type {} has wrong fields", number), {}, {}, {}};
    }
    return Decoded<Variant>{envelope, Variant(std::in_place_index<I>, std::move(message))};
  }
}

DecodeError OtherVersion(uint64_t version, const Object& frame) {
  DecodeError error;
  error.reason = fmt::format("protocol version {}, here it is {}", version, kProtocolVersion);
  error.other_version = version;
  // The layout of hello up to its path never changes (PROTOCOL.md, "Another version").
  const auto& array = frame.via.array;
  if (array.size >= kHead + 2 && array.ptr[1].type == type::POSITIVE_INTEGER &&
      array.ptr[1].via.u64 == kType<Hello>) {
    Unpack(array.ptr[kHead], error.sender_version);
    Unpack(array.ptr[kHead + 1], error.sender_path);
  }
  return error;
}

template <class Variant>
std::variant<Decoded<Variant>, DecodeError> Decode(std::string_view frame) {
  msgpack::object_handle handle;
  try {
    const msgpack::unpack_limit limit(kHeldMax, 0, kFrameBytesMax, kFrameBytesMax, kFrameBytesMax,
                                      kNestingMax);
    size_t end = 0;
    const auto reference = [](type::object_type, size_t, void*) { return true; };
    handle = msgpack::unpack(frame.data(), frame.size(), end, reference, nullptr, limit);
    if (end != frame.size()) return DecodeError{"bytes after the end of the message", {}, {}, {}};
  } catch (const msgpack::unpack_error& error) {
    return DecodeError{fmt::format("no MessagePack: {}", error.what()), {}, {}, {}};
  }
  const Object& o = handle.get();
  Envelope envelope;
  if (o.type != type::ARRAY || o.via.array.size < kHead ||
      o.via.array.ptr[0].type != type::POSITIVE_INTEGER ||
      o.via.array.ptr[1].type != type::POSITIVE_INTEGER ||
      !Unpack(o.via.array.ptr[2], envelope.session) ||
      !Unpack(o.via.array.ptr[3], envelope.sequence)) {
    return DecodeError{"not an array of version, type, session and sequence", {}, {}, {}};
  }
  const uint64_t version = o.via.array.ptr[0].via.u64;
  const uint64_t number = o.via.array.ptr[1].via.u64;
  const bool readable =
      version == kProtocolVersion || (number == kType<Refuse> && std::is_same_v<Variant, ToWorker>);
  if (!readable) return OtherVersion(version, o);
  return UnpackMessage<Variant>(number, envelope, o.via.array.ptr + kHead,
                                o.via.array.size - kHead);
}

}  // namespace

std::string Encode(Envelope envelope, const FromWorker& message) {
  return EncodeVariant(envelope, message);
}
std::string Encode(Envelope envelope, const ToWorker& message) {
  return EncodeVariant(envelope, message);
}

std::variant<Decoded<FromWorker>, DecodeError> DecodeFromWorker(std::string_view frame) {
  auto decoded = Decode<FromWorker>(frame);
  const auto* good = std::get_if<Decoded<FromWorker>>(&decoded);
  const auto* results = good == nullptr ? nullptr : std::get_if<Results>(&good->message);
  if (results == nullptr) return decoded;
  uint64_t tasks = 0;
  for (const TaskResult& result : results->results) tasks += result.count;
  if (tasks <= kHeldMax) return decoded;
  return DecodeError{"results of more tasks than a worker may hold", {}, {}, {}};
}
std::variant<Decoded<ToWorker>, DecodeError> DecodeToWorker(std::string_view frame) {
  return Decode<ToWorker>(frame);
}

}  // namespace cq
