#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "base/stable_table.h"

namespace cq {

/// A StableTable in which an entry may stand for several keys that follow each other, until one of
/// them is asked for by itself. A Value has `uint64_t count` and `void CutFront(uint64_t n, Value&
/// front)`, which moves its first n keys to `front`, a new one. An entry goes by its last key.
template <class Key, class Value>
class SpanTable {
 public:
  /// The entry that has this key, maybe among others; nullptr: there is none.
  Value* Containing(Key key) { return Locate(key).second; }
  const Value* Containing(Key key) const {
    return const_cast<SpanTable*>(this)->Locate(key).second;
  }

  /// The entry of this key alone, taken out of those around it; nullptr: there is none.
  Value* Find(Key key) { return Isolate(key, 1); }

  /// The entry of these keys and no others; nullptr: no one entry has them all.
  Value* Isolate(Key first, uint64_t count) {
    if (Value* value = entries_.Find(first + count - 1); value && value->count == count) {
      return value;
    }
    auto [last, value] = Locate(first);
    if (value == nullptr) return nullptr;
    const uint64_t before = value->count - (last - first + 1);
    if (before + count > value->count) return nullptr;
    if (before > 0) Cut(last, *value, before);
    return value->count > count ? &Cut(last, *value, count) : value;
  }

  /// The entry of these keys, of which none is there, or the one of this key alone; and whether it
  /// is new.
  std::pair<Value&, bool> Add(Key first, uint64_t count = 1) {
    if (Value* value = Find(first)) return {*value, false};
    Value& value = entries_.Add(first + count - 1).first;
    value.count = count;
    keys_ += count;
    if (count > 1) spans_[first + count - 1] = &value;
    return {value, true};
  }

  /// Erases the entry that ends with this key; does nothing if there is none.
  void Erase(Key last) {
    const Value* value = entries_.Find(last);
    if (value == nullptr) return;
    keys_ -= value->count;
    if (value->count > 1) spans_.erase(last);
    entries_.Erase(last);
  }

  /// How many keys there are.
  size_t size() const { return keys_; }
  /// The last keys of all entries, sorted, and the entry of one.
  std::vector<Key> Ends() const { return entries_.SortedKeys(); }
  Value* EndingAt(Key last) { return entries_.Find(last); }
  const Value* EndingAt(Key last) const { return entries_.Find(last); }

 private:
  // The last key of the entry that has this one, and the entry.
  std::pair<Key, Value*> Locate(Key key) {
    if (Value* value = entries_.Find(key)) return {key, value};
    const auto found = spans_.lower_bound(key);
    if (found == spans_.end() || found->first - key >= found->second->count) return {};
    return *found;
  }

  // The first n of the entry that ends with `last` become one of their own.
  Value& Cut(Key last, Value& value, uint64_t n) {
    const Key end = last - value.count + n;
    Value& front = entries_.Add(end).first;
    const uint64_t count = value.count;
    value.CutFront(n, front);
    front.count = n;
    value.count = count - n;
    if (n > 1) spans_[end] = &front;
    if (value.count == 1) spans_.erase(last);
    return front;
  }

  StableTable<Key, Value> entries_;
  /// Those of several keys, by the last.
  std::map<Key, Value*> spans_;
  size_t keys_ = 0;
};

}  // namespace cq
