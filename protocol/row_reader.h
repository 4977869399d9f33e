#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "protocol/pushed_rows.h"

namespace cq {

/// As ReadPushed, of JSON that was read already.
std::string ReadRows(const OrderedJson& list, const RowForm& form, std::vector<PushedRow>& rows);

}  // namespace cq
