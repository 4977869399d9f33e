#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

namespace cq {

/// Fills a submission template: `{{ key }}` and `{{ key | default }}` are replaced by values. A
/// line that starts with `directive` (such as "#SBATCH") and in which a key is filled with nothing
/// is left out. `user_set` are the names of values that the user gave: each must occur. Throws
/// UsageError with name and line for a key that is not known, has no value and no default, or is
/// not closed; `option` is what it names as the way to give values.
std::string FillTemplate(std::string_view text, const std::string& name,
                         const std::map<std::string, std::string>& values,
                         const std::set<std::string>& known, const std::set<std::string>& user_set,
                         std::string_view directive, std::string_view option = "--set");

}  // namespace cq
