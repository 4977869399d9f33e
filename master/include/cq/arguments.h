#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "cq/engine.h"
#include "cq/error.h"

// How the arguments of a call are packed.
namespace cq::detail {

/// Converted as in a call, but for numbers that the parameter cannot hold.
template <class P, class A>
const P& Converted(const A& argument, std::optional<P>& holder) {
  if constexpr (std::is_same_v<P, A>) {
    return argument;
  } else {
    if constexpr (std::is_arithmetic_v<P> && std::is_arithmetic_v<A>) {
      static_assert(!std::is_integral_v<P> || std::is_integral_v<A>,
                    "a floating-point argument for an integer parameter: convert it yourself");
      constexpr bool kIntegers = std::is_integral_v<P> && !std::is_same_v<P, bool> &&
                                 std::is_integral_v<A> && !std::is_same_v<A, bool>;
      if constexpr (kIntegers) {
        if (!Holds<P>(argument)) {
          throw UsageError("the argument " + Digits(argument) + " does not fit its parameter");
        }
      }
    }
    return holder.emplace(static_cast<P>(argument));
  }
}

/// They are all that is in the packer then.
template <class... P, class... A>
void PackArguments(Packer& packer, const A&... arguments) {
  packer.Clear();
  packer.encoder().List(sizeof...(P));
  [[maybe_unused]] const auto put = [&]<class T>(std::type_identity<T>, const auto& argument) {
    std::optional<T> holder;
    Travels<T>::Put(packer.encoder(), Converted<T>(argument, holder));
  };
  (put(std::type_identity<std::decay_t<P>>(), arguments), ...);
}

}  // namespace cq::detail
