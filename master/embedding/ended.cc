#include "master/embedding/ended.h"

#include <memory>
#include <string_view>
#include <utility>

#include "master/embedding/observer.h"
#include "protocol/bundle.h"
#include "protocol/pieces.h"

namespace cq {

detail::Ended EndedOf(TaskResult result) {
  detail::Ended ended;
  ended.took_us = static_cast<double>(result.wall_us);
  if (result.outcome == Outcome::kOk) {
    ended.value = std::move(result.blob.Edit().bytes);
  } else {
    ResultDetails& details = result.details.Edit();
    // Texts of these two are ours, and name an option.
    if (result.outcome == Outcome::kTimeout || result.outcome == Outcome::kMemory) {
      details.error = InWordsOfTheApi(details.error);
    }
    ended.error = std::make_unique<TaskError>(TaskError{
        result.outcome, std::move(details.error), std::move(details.out), std::move(details.err)});
  }
  return ended;
}

std::vector<detail::Ended> EndedOfBundle(const TaskResult& result, uint32_t count) {
  std::vector<detail::Ended> all;
  if (result.outcome == Outcome::kCancelled) {
    for (uint32_t i = 0; i < count; ++i) all.push_back(EndedOf(result));
    return all;
  }
  if (result.outcome != Outcome::kOk || result.blob->format != kBundleFormat) return all;
  all.reserve(count);
  std::string_view bundle = result.blob->bytes;
  std::string_view piece;
  while (all.size() < count && TakePiece(bundle, piece) && !piece.empty()) {
    detail::Ended& ended = all.emplace_back();
    const std::string_view content = piece.substr(1);
    if (piece.front() == kPieceOk) {
      ended.value = content;
    } else {
      ended.error = std::make_unique<TaskError>(TaskError{
          Outcome::kError, std::string(content), result.details->out, result.details->err});
    }
  }
  for (detail::Ended& ended : all) {
    ended.took_us = static_cast<double>(result.wall_us) / static_cast<double>(all.size());
  }
  return all;
}

detail::Ended NeverRun(const std::string& why) {
  detail::Ended ended;
  ended.error = std::make_unique<TaskError>(TaskError{Outcome::kCancelled, why, {}, {}});
  return ended;
}

}  // namespace cq
