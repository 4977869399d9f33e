#pragma once

#include <tsl/robin_map.h>

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

namespace cq {

/// A hash table for what comes and goes in millions: its values stay where they are, and their
/// places are used again.
template <class Key, class Value>
class StableTable {
 public:
  /// nullptr: there is none.
  Value* Find(Key key) {
    const auto found = places_.find(key);
    return found == places_.end() ? nullptr : found->second;
  }
  const Value* Find(Key key) const {
    const auto found = places_.find(key);
    return found == places_.end() ? nullptr : found->second;
  }

  /// The value of this key, and whether it is new.
  std::pair<Value&, bool> Add(Key key) {
    const auto [entry, added] = places_.try_emplace(key);
    if (added) {
      if (free_.empty()) free_.push_back(&values_.emplace_back());
      entry.value() = free_.back();
      free_.pop_back();
    }
    return {*entry->second, added};
  }

  /// Does nothing if there is none.
  void Erase(Key key) {
    Value* value = Find(key);
    if (value == nullptr) return;
    *value = {};
    free_.push_back(value);
    places_.erase(key);
  }

  size_t size() const { return places_.size(); }

  std::vector<Key> SortedKeys() const {
    std::vector<Key> keys;
    keys.reserve(places_.size());
    for (const auto& [key, value] : places_) keys.push_back(key);
    std::sort(keys.begin(), keys.end());
    return keys;
  }

 private:
  tsl::robin_map<Key, Value*> places_;
  std::deque<Value> values_;
  std::vector<Value*> free_;
};

}  // namespace cq
