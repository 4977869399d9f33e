#pragma once

#include <cstddef>
#include <cstdint>

// How values pass between a function and whoever calls it: the binary interface of <cq/function.h>.
namespace cq {

/// The kinds of values that travel.
enum class Kind : uint8_t { kMissing, kBool, kInteger, kNumber, kText, kList, kRecord };

/// Where values go. Implemented by whoever carries them; the numbers of the members are part of the
/// binary interface between a library and its host.
class Encoder {
 public:
  virtual void Missing() = 0;
  virtual void Bool(bool value) = 0;
  virtual void Integer(int64_t value) = 0;
  virtual void Unsigned(uint64_t value) = 0;
  virtual void Number(double value) = 0;
  virtual void Text(const char* bytes, size_t size) = 0;
  /// `count` values follow.
  virtual void List(size_t count) = 0;
  /// `count` times a text and a value follow.
  virtual void Record(size_t count) = 0;

 protected:
  ~Encoder() = default;
};

/// Where values come from, one after the other. A getter may be called only for the kind that Next
/// tells.
class Decoder {
 public:
  virtual Kind Next() = 0;
  virtual void Missing() = 0;
  virtual bool Bool() = 0;
  /// An integer above INT64_MAX is told by `Unsigned` alone.
  virtual bool FitsInteger() = 0;
  virtual int64_t Integer() = 0;
  virtual uint64_t Unsigned() = 0;
  virtual double Number() = 0;
  /// The bytes live as long as the call of the function.
  virtual const char* Text(size_t* size) = 0;
  virtual size_t List() = 0;
  virtual size_t Record() = 0;

 protected:
  ~Decoder() = default;
};

}  // namespace cq
