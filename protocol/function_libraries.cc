#include "protocol/function_libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "base/files.h"
#include "cq/error.h"

namespace cq {
namespace {

constexpr uint32_t kLibraryVersion = 2;

// The file of the program or library that has something at this address.
std::string FileAt(const void* address) {
  Dl_info info{};
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return "an unknown file";
  return info.dli_fname;
}

std::vector<const Function*> FunctionsOf(const std::vector<detail::Library*>& libraries) {
  std::vector<const Function*> functions;
  for (const detail::Library* library : libraries) {
    functions.insert(functions.end(), library->functions.begin(), library->functions.end());
  }
  return functions;
}

// The linker's name of what begins at this address; empty if it has none.
std::string SymbolAt(void (*address)()) {
  Dl_info info{};
  void* const at = reinterpret_cast<void*>(address);
  if (dladdr(at, &info) == 0 || info.dli_saddr != at || info.dli_sname == nullptr) return {};
  return info.dli_sname;
}

// A function of a library that was linked with -Bsymbolic has another address in a program that is
// not position-independent, and the same symbol.
const Function* FindIn(const std::vector<const Function*>& functions, void (*address)()) {
  for (const Function* function : functions) {
    if (function->address == address) return function;
  }
  const std::string symbol = SymbolAt(address);
  for (const Function* function : functions) {
    if (!symbol.empty() && SymbolAt(function->address) == symbol) return function;
  }
  return nullptr;
}

}  // namespace

std::vector<detail::Library*> LoadedLibraries() {
  std::vector<std::string> names;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* all) {
        static_cast<std::vector<std::string>*>(all)->emplace_back(info->dlpi_name);
        return 0;
      },
      &names);
  std::vector<detail::Library*> libraries{&detail::OwnLibrary()};
  for (const std::string& name : names) {
    // Not to be loaded: it is. The program itself has no name.
    void* handle = dlopen(name.empty() ? nullptr : name.c_str(), RTLD_NOLOAD | RTLD_LAZY);
    if (handle == nullptr) continue;
    // A library's own comes before those of libraries that it needs.
    const auto own = reinterpret_cast<detail::Library* (*)()>(dlsym(handle, "cq_own_library"));
    if (own != nullptr) {
      detail::Library* const library = own();
      if (library->version != kLibraryVersion) {
        throw UsageError(
            fmt::format("'{}' was built with another <cq/function.h>, of version {}; here it is {}",
                        name, library->version, kLibraryVersion));
      }
      if (std::find(libraries.begin(), libraries.end(), library) == libraries.end()) {
        libraries.push_back(library);
      }
    }
    dlclose(handle);
  }
  return libraries;
}

const std::vector<const Function*>& FunctionsFromTheStart() {
  static const std::vector<const Function*> functions = FunctionsOf(LoadedLibraries());
  return functions;
}

void RequireOneOfEachName(const std::vector<const Function*>& functions) {
  std::map<std::string, const Function*> known;
  for (const Function* function : functions) {
    const auto [at, is_new] = known.emplace(function->name, function);
    if (is_new) continue;
    throw UsageError(
        fmt::format("two functions are registered as '{}', in '{}' and in '{}': give one of them "
                    "another name, since workers are told names alone",
                    function->name, FileAt(at->second), FileAt(function)));
  }
}

const Function& FunctionAt(void (*address)()) {
  if (const Function* function = FindIn(FunctionsFromTheStart(), address)) return *function;
  if (const Function* late = FindIn(FunctionsOf(LoadedLibraries()), address)) {
    throw Error(fmt::format(
        "the function '{}' is in '{}', which was loaded after this program's start: workers, which "
        "are this program started anew, do not have it; link the library to the program",
        late->name, FileAt(late)));
  }
  const std::string symbol = SymbolAt(address);
  throw Error(fmt::format(
      "this function{} is not registered: CQ_FUNCTION(name), in the file where it is defined, "
      "tells workers of it",
      symbol.empty() ? "" : fmt::format(" ({})", symbol)));
}

std::vector<std::string> FilesOf(const std::vector<const Function*>& functions) {
  std::set<std::string> files;
  for (const Function* function : functions) {
    const std::string file = FileAt(function);
    // Of the program it is how it was called.
    if (FileAt(&detail::OwnLibrary()) != file) files.insert(file);
  }
  return {files.begin(), files.end()};
}

}  // namespace cq
