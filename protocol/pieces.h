#pragma once

#include <string>
#include <string_view>

// Texts that stand one behind the other, each behind its length.
namespace cq {

/// Appends a piece of at most 4 GiB.
void AppendPiece(std::string& pieces, std::string_view piece);
/// Takes the first piece off `pieces`. False if there is none, or a part of one.
bool TakePiece(std::string_view& pieces, std::string_view& piece);

}  // namespace cq
