// A program whose functions are all in libraries: calls them, or the one of a library that it loads
// itself (`late LIBRARY`), and prints what comes back. Linked with one of two libraries that
// register the same name, or with both (TWIN).
#include <cq/master.h>
#include <cq/runtime.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

namespace plain {
std::string first(int64_t x);
}
namespace twin {
std::string first(int64_t x);
}
namespace hidden {
std::string second(int64_t x);
}
namespace symbolic {
std::string third(int64_t x);
}

namespace {

void Call(cq::Master& master, std::string (*function)(int64_t), int64_t x) {
  std::printf("%s\n", master.submit(function, x).get().value().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  cq::Runtime runtime(argc, argv);
  try {
    cq::MasterOptions options;
    options.pools = {{.workers = 1, .slots = 1}};
    options.constants.add("greeting", std::string("hello"));
    if (const char* run_dir = std::getenv("RUN_DIR")) options.run_dir = run_dir;
    using Function = std::string (*)(int64_t);
    Function late = nullptr;
    if (argc > 2) {
      void* handle = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
      late = handle == nullptr
                 ? nullptr
                 : reinterpret_cast<Function>(dlsym(handle, "_ZN4late6fourthB5cxx11El"));
      if (late == nullptr) return 9;
    }
    cq::Master master(options);
    if (late != nullptr) Call(master, late, 4);
    Call(master, plain::first, 1);
#ifdef TWIN
    Call(master, twin::first, 1);
#endif
    Call(master, hidden::second, 2);
    Call(master, symbolic::third, 3);
  } catch (const std::exception& error) {
    std::printf("error: %s\n", error.what());
    return 1;
  }
  return 0;
}
