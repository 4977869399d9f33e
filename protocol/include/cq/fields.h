#pragma once

#include <tuple>
#include <utility>

/// Tells which members of a struct travel, at most 16: struct Fit { double loss; int64_t steps; };
/// CQ_FIELDS(Fit, loss, steps) in the namespace of the struct.
#define CQ_FIELDS(Type, ...)                                              \
  [[maybe_unused]] inline auto CqFields(Type*) {                          \
    using CqType = Type;                                                  \
    return std::make_tuple(CQ_DETAIL_EACH(CQ_DETAIL_FIELD, __VA_ARGS__)); \
  }
#define CQ_DETAIL_FIELD(member) std::pair(#member, &CqType::member)
#define CQ_DETAIL_EXPAND(...) \
  CQ_DETAIL_EXPAND2(CQ_DETAIL_EXPAND2(CQ_DETAIL_EXPAND2(CQ_DETAIL_EXPAND2(__VA_ARGS__))))
#define CQ_DETAIL_EXPAND2(...) \
  CQ_DETAIL_EXPAND1(CQ_DETAIL_EXPAND1(CQ_DETAIL_EXPAND1(CQ_DETAIL_EXPAND1(__VA_ARGS__))))
#define CQ_DETAIL_EXPAND1(...) __VA_ARGS__
#define CQ_DETAIL_EACH(macro, ...) __VA_OPT__(CQ_DETAIL_EXPAND(CQ_DETAIL_NEXT(macro, __VA_ARGS__)))
#define CQ_DETAIL_NEXT(macro, first, ...) \
  macro(first) __VA_OPT__(, CQ_DETAIL_AGAIN CQ_DETAIL_PARENS(macro, __VA_ARGS__))
#define CQ_DETAIL_PARENS ()
#define CQ_DETAIL_AGAIN() CQ_DETAIL_NEXT
