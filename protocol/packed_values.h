#pragma once

#include <cstddef>
#include <msgpack.hpp>
#include <string_view>

#include "protocol/messages.h"

// What programs are told of their tasks, and what they answer, as MessagePack (SLOT_PROTOCOL.md).
namespace cq {

/// Appends a value of a row.
void PackScalar(msgpack::sbuffer& buffer, const Value& value);

/// Appends [task, try, seed, group, [ of a row; so many values must follow.
void PackRowHead(msgpack::sbuffer& buffer, const Task& task, size_t values);

/// What a program returned, by name; a value that is no record is called "result". Nested values
/// become JSON. Throws Error for what is not in the protocol.
NamedValues ValuesOf(const msgpack::object& value);
NamedValues UnpackValues(std::string_view packed);
/// The other way, for values none of which is nested.
void PackValues(msgpack::sbuffer& buffer, const NamedValues& values);

/// A task whose row was packed, as texts, gets seed and values in its place. Throws Error.
void UnpackRow(Task& task);
/// A result that has one answer gets values in its place.
void UnpackAnswer(TaskResult& result);

}  // namespace cq
