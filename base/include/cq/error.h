#pragma once

#include <stdexcept>
#include <string>

namespace cq {

/// Thrown where something cannot start or was misused; never for a task that fails, which is a
/// result. `what()` says what failed, which value, why, and what to do; it holds no secret.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The input or the options are at fault, and nothing was started (exit status 2 of `cq`).
class UsageError : public Error {
 public:
  using Error::Error;
};

/// A signal came before anything was started (exit status 130 of `cq`).
class Interrupted : public Error {
 public:
  using Error::Error;
};

}  // namespace cq
