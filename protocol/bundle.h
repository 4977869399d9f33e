#pragma once

#include <cstddef>

// Calls of one function that travel as one task: their arguments, and then their results, are
// pieces (protocol/pieces.h).
namespace cq {

/// The values of a call's task: the function's name and the arguments; then the call's number,
/// where that is not the task's; and of a bundle how many they are, and what makes their seeds.
inline constexpr size_t kValuesOfNumberedCall = 3;
inline constexpr size_t kValuesOfBundle = 5;

/// The format of the blob that has the results of a bundle, as far as it was worked on.
inline constexpr const char* kBundleFormat = "cq-bundle";

/// With what the result of a call begins: its packed value follows, or why it has none.
inline constexpr char kPieceOk = '+';
inline constexpr char kPieceError = '-';

}  // namespace cq
