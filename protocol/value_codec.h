#pragma once

#include <cstddef>
#include <cstdint>
#include <msgpack.hpp>
#include <string_view>
#include <vector>

#include "cq/function.h"
#include "protocol/msgpack_double.h"

// The values of functions (<cq/function.h>) as MessagePack.
namespace cq {

/// Writes values as MessagePack.
class ValueWriter final : public Encoder {
 public:
  explicit ValueWriter(msgpack::sbuffer& buffer) : buffer_(buffer), packer_(buffer) {}
  void Missing() override { packer_.pack_nil(); }
  void Bool(bool value) override { value ? packer_.pack_true() : packer_.pack_false(); }
  void Integer(int64_t value) override { packer_.pack_int64(value); }
  void Unsigned(uint64_t value) override { packer_.pack_uint64(value); }
  void Number(double value) override { WriteDouble(buffer_, value); }
  void Text(const char* bytes, size_t size) override {
    packer_.pack_str(static_cast<uint32_t>(size));
    packer_.pack_str_body(bytes, static_cast<uint32_t>(size));
  }
  void List(size_t count) override { packer_.pack_array(static_cast<uint32_t>(count)); }
  void Record(size_t count) override { packer_.pack_map(static_cast<uint32_t>(count)); }

 private:
  msgpack::sbuffer& buffer_;
  msgpack::packer<msgpack::sbuffer> packer_;
};

/// Unpacks one value after the other into the same memory.
class Unpacker {
 public:
  /// Valid until the next; texts in it point into `packed`. Throws msgpack::unpack_error.
  const msgpack::object& Unpack(std::string_view packed) {
    return UnpackPlain(packed) ? value_ : UnpackAny(packed);
  }

 private:
  /// A missing value, a Boolean or a number, or a short list of such, which is what most calls take
  /// and return: to set up a parser costs several times as much as they do. False for any other.
  bool UnpackPlain(std::string_view packed);
  const msgpack::object& UnpackAny(std::string_view packed);

  msgpack::zone zone_;
  msgpack::object value_;
  std::vector<msgpack::object> list_;
};

/// Reads unpacked values one after the other, those inside of others in their places.
class ValueReader final : public Decoder {
 public:
  /// Those that are to be read next.
  void Start(const std::vector<const msgpack::object*>& values) {
    stack_.assign(values.rbegin(), values.rend());
  }
  void Start(const msgpack::object& value) { stack_.assign(1, &value); }
  Kind Next() override {
    namespace type = msgpack::type;
    switch (Top().type) {
      case type::BOOLEAN:
        return Kind::kBool;
      case type::POSITIVE_INTEGER:
      case type::NEGATIVE_INTEGER:
        return Kind::kInteger;
      case type::FLOAT32:
      case type::FLOAT64:
        return Kind::kNumber;
      case type::STR:
        return Kind::kText;
      case type::ARRAY:
        return Kind::kList;
      case type::MAP:
        return Kind::kRecord;
      default:
        return Kind::kMissing;
    }
  }
  void Missing() override { Pop(); }
  bool Bool() override { return Pop().via.boolean; }
  bool FitsInteger() override {
    return Top().type == msgpack::type::NEGATIVE_INTEGER || Top().via.u64 <= INT64_MAX;
  }
  int64_t Integer() override { return Pop().via.i64; }
  uint64_t Unsigned() override { return Pop().via.u64; }
  double Number() override { return Pop().via.f64; }
  const char* Text(size_t* size) override {
    const msgpack::object& o = Pop();
    *size = o.via.str.size;
    return o.via.str.ptr;
  }
  size_t List() override {
    const msgpack::object& o = Pop();
    for (uint32_t i = o.via.array.size; i > 0; --i) stack_.push_back(&o.via.array.ptr[i - 1]);
    return o.via.array.size;
  }
  size_t Record() override {
    const msgpack::object& o = Pop();
    for (uint32_t i = o.via.map.size; i > 0; --i) {
      stack_.push_back(&o.via.map.ptr[i - 1].val);
      stack_.push_back(&o.via.map.ptr[i - 1].key);
    }
    return o.via.map.size;
  }

 private:
  const msgpack::object& Top() const { return *stack_.back(); }
  const msgpack::object& Pop() {
    const msgpack::object& top = *stack_.back();
    stack_.pop_back();
    return top;
  }
  std::vector<const msgpack::object*> stack_;
};

}  // namespace cq
