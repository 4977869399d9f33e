#include "master/input/input_stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "cq/error.h"

namespace cq {
namespace {

bool IsCompressed(const std::string& path) {
  for (const char* ending : {".gz", ".zst", ".xz", ".bz2"}) {
    if (path.ends_with(ending)) return true;
  }
  return false;
}

// libarchive, loaded when it is needed, and for good: with the twenty libraries that it brings, it
// would make the start of every command, worker and slot a third longer.
class LibArchive {
 public:
  static const LibArchive& Get() {
    static const LibArchive loaded;
    return loaded;
  }

  decltype(&archive_read_new) make;
  decltype(&archive_read_free) free;
  decltype(&archive_read_support_filter_all) support_all_filters;
  decltype(&archive_read_support_format_raw) support_raw_bytes;
  decltype(&archive_read_open_fd) open;
  decltype(&archive_read_next_header) next_header;
  decltype(&archive_read_data) read;
  decltype(&archive_error_string) error;

 private:
  LibArchive() {
    void* library = dlopen("libarchive.so.13", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      throw UsageError(fmt::format("compressed input needs libarchive: {}", dlerror()));
    }
    const auto find = [&](const char* name, auto& function) {
      function =
          reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      if (function == nullptr) throw UsageError(fmt::format("libarchive: {}", dlerror()));
    };
    find("archive_read_new", make);
    find("archive_read_free", free);
    find("archive_read_support_filter_all", support_all_filters);
    find("archive_read_support_format_raw", support_raw_bytes);
    find("archive_read_open_fd", open);
    find("archive_read_next_header", next_header);
    find("archive_read_data", read);
    find("archive_error_string", error);
  }
};

}  // namespace

InputStream::InputStream(const std::string& path) : path_(path) {
  if (path == "-") {
    fd_ = Fd(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
    if (!fd_) throw UsageError(fmt::format("cannot read standard input: {}", strerror(errno)));
    return;
  }
  fd_ = Fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd_) throw UsageError(fmt::format("cannot read '{}': {}", path, strerror(errno)));
  struct stat status {};
  if (fstat(fd_.get(), &status) == 0 && S_ISDIR(status.st_mode)) {
    throw UsageError(fmt::format("cannot read '{}': it is a directory", path));
  }
  if (!IsCompressed(path)) return;
  if (!S_ISREG(status.st_mode)) {
    throw UsageError(fmt::format(
        "cannot decompress '{}': it is no regular file; decompress it yourself, as in 'zcat {} | "
        "cq run -'",
        path, path));
  }
  LibArchive::Get();  // what cannot be loaded is told of here
  Pipe pipe = MakePipe();
  file_ = std::exchange(fd_, std::move(pipe.read));
  thread_ =
      std::thread([this, to = std::move(pipe.write)]() mutable { Decompress(std::move(to)); });
}

InputStream::~InputStream() {
  fd_.Close();
  if (thread_.joinable()) thread_.join();
}

void InputStream::Decompress(Fd to) {
  // Whoever reads may have seen enough.
  sigset_t broken;
  sigemptyset(&broken);
  sigaddset(&broken, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &broken, nullptr);
  const LibArchive& library = LibArchive::Get();
  const std::unique_ptr<archive, int (*)(archive*)> from(library.make(), library.free);
  library.support_all_filters(from.get());
  library.support_raw_bytes(from.get());
  archive_entry* entry = nullptr;
  constexpr size_t kBlock = 1u << 16;
  std::array<char, kBlock> buffer;
  la_ssize_t n = -1;
  if (library.open(from.get(), file_.get(), kBlock) == ARCHIVE_OK &&
      library.next_header(from.get(), &entry) == ARCHIVE_OK) {
    while ((n = library.read(from.get(), buffer.data(), buffer.size())) > 0) {
      if (!WriteAll(to.get(), {buffer.data(), static_cast<size_t>(n)})) return;
    }
  }
  if (n >= 0) return;
  const char* why = library.error(from.get());
  problem_ = why == nullptr ? "it is damaged" : why;
}

void InputStream::Finish() {
  if (!thread_.joinable()) return;
  thread_.join();
  if (!problem_.empty()) {
    throw UsageError(fmt::format("cannot decompress '{}': {}", path_, problem_));
  }
}

}  // namespace cq
