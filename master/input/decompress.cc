#include "master/input/decompress.h"

#include <archive.h>
#include <archive_entry.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>
#include <type_traits>

#include "base/files.h"
#include "cq/error.h"

namespace cq {
namespace {

constexpr size_t kBlock = 1u << 16;
using Block = std::array<char, kBlock>;

std::string InLowerCase(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// The ending that says how it is compressed; empty if it is not.
std::string EndingOf(const std::string& path) {
  const std::string name = InLowerCase(path);
  for (const char* ending : {".gz", ".zst", ".xz", ".bz2"}) {
    if (name.ends_with(ending)) return ending;
  }
  return {};
}

bool IsGzip(const std::string& path) { return EndingOf(path) == ".gz"; }

// A library that is loaded when it is needed, and for good: with the twenty libraries that
// libarchive brings, it would make the start of every command, worker and slot a third longer.
class Library {
 public:
  explicit Library(const char* file) : library_(dlopen(file, RTLD_NOW | RTLD_LOCAL)) {
    if (library_ == nullptr) {
      throw UsageError(fmt::format("compressed input needs {}: {}", file, dlerror()));
    }
  }
  template <class F>
  void Find(const char* name, F& function) {
    function = reinterpret_cast<std::remove_reference_t<F>>(dlsym(library_, name));
    if (function == nullptr) throw UsageError(fmt::format("compressed input: {}", dlerror()));
  }

 private:
  void* library_;
};

struct LibArchive {
  static const LibArchive& Get() {
    static const LibArchive loaded;
    return loaded;
  }
  decltype(&archive_read_new) make;
  decltype(&archive_read_free) free;
  decltype(&archive_read_support_filter_bzip2) support_bzip2;
  decltype(&archive_read_support_filter_xz) support_xz;
  decltype(&archive_read_support_filter_zstd) support_zstd;
  decltype(&archive_read_support_format_raw) support_raw_bytes;
  decltype(&archive_read_open_fd) open;
  decltype(&archive_read_next_header) next_header;
  decltype(&archive_read_data) read;
  decltype(&archive_filter_bytes) bytes;
  decltype(&archive_error_string) error;

 private:
  LibArchive() {
    Library library("libarchive.so.13");
    library.Find("archive_read_new", make);
    library.Find("archive_read_free", free);
    library.Find("archive_read_support_filter_bzip2", support_bzip2);
    library.Find("archive_read_support_filter_xz", support_xz);
    library.Find("archive_read_support_filter_zstd", support_zstd);
    library.Find("archive_read_support_format_raw", support_raw_bytes);
    library.Find("archive_read_open_fd", open);
    library.Find("archive_read_next_header", next_header);
    library.Find("archive_read_data", read);
    library.Find("archive_filter_bytes", bytes);
    library.Find("archive_error_string", error);
  }
};

// libarchive reads gzip, too, but looks at no checksum of it.
struct LibZ {
  static const LibZ& Get() {
    static const LibZ loaded;
    return loaded;
  }
  decltype(&inflateInit2_) init;
  decltype(&inflate) step;
  decltype(&inflateReset) reset;
  decltype(&inflateEnd) end;

 private:
  LibZ() {
    Library library("libz.so.1");
    library.Find("inflateInit2_", init);
    library.Find("inflate", step);
    library.Find("inflateReset", reset);
    library.Find("inflateEnd", end);
  }
};

bool Write(int to, const Block& block, size_t bytes) { return WriteAll(to, {block.data(), bytes}); }

/// A file of gzip: members one after the other, and nothing but zeros behind the last.
class Gunzip {
 public:
  Gunzip(int from, int to) : from_(from), to_(to) {
    constexpr int kGzipOnly = 15 + 16;
    library_.init(&stream_, kGzipOnly, ZLIB_VERSION, static_cast<int>(sizeof stream_));
  }
  ~Gunzip() { library_.end(&stream_); }
  Gunzip(const Gunzip&) = delete;
  Gunzip& operator=(const Gunzip&) = delete;

  std::string Run() {
    if (Fill() && !std::string_view(in_.data(), stream_.avail_in).starts_with("\x1f\x8b")) {
      return Copy();
    }
    bool in_member = false;
    while (Fill()) {
      padded_ = padded_ || (!in_member && stream_.next_in[0] == 0 && members_ > 0);
      if (padded_) {
        if (!OnlyZeros()) return "there is something else behind its end";
        continue;
      }
      in_member = true;
      int code = Z_OK;
      do {
        stream_.next_out = reinterpret_cast<Bytef*>(out_.data());
        stream_.avail_out = kBlock;
        code = library_.step(&stream_, Z_NO_FLUSH);
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) return Why(code);
        if (!Write(to_, out_, kBlock - stream_.avail_out)) return {};
      } while (stream_.avail_out == 0 && code == Z_OK);
      if (code != Z_STREAM_END) continue;
      in_member = false;
      ++members_;
      library_.reset(&stream_);
    }
    if (error_ != 0) return strerror(error_);
    return in_member ? "it is cut off" : "";
  }

 private:
  // Its name says what it is not.
  std::string Copy() {
    for (; Fill(); stream_.avail_in = 0) {
      if (!Write(to_, in_, stream_.avail_in)) return {};
    }
    return error_ == 0 ? "" : strerror(error_);
  }
  // False at the end of the file.
  bool Fill() {
    if (stream_.avail_in > 0) return true;
    ssize_t n = 0;
    do {
      n = read(from_, in_.data(), in_.size());
    } while (n < 0 && errno == EINTR);
    if (n < 0) error_ = errno;
    stream_.next_in = reinterpret_cast<Bytef*>(in_.data());
    stream_.avail_in = n > 0 ? static_cast<uInt>(n) : 0;
    return n > 0;
  }
  bool OnlyZeros() {
    while (stream_.avail_in > 0 && *stream_.next_in == 0) {
      ++stream_.next_in;
      --stream_.avail_in;
    }
    return stream_.avail_in == 0;
  }
  std::string Why(int code) const {
    if (members_ > 0 && stream_.total_out == 0) return "there is something else behind its end";
    return fmt::format("it is damaged ({})", stream_.msg != nullptr ? stream_.msg
                                             : code == Z_NEED_DICT  ? "it needs a dictionary"
                                                                    : "no memory");
  }

  const LibZ& library_ = LibZ::Get();
  const int from_;
  const int to_;
  z_stream stream_{};
  Block in_;
  Block out_;
  uint64_t members_ = 0;
  /// Zeros stand behind the last.
  bool padded_ = false;
  int error_ = 0;
};

std::string ReadArchive(int from, int to) {
  const LibArchive& library = LibArchive::Get();
  const std::unique_ptr<archive, int (*)(archive*)> in(library.make(), library.free);
  library.support_bzip2(in.get());
  library.support_xz(in.get());
  library.support_zstd(in.get());
  library.support_raw_bytes(in.get());
  archive_entry* entry = nullptr;
  Block block;
  la_ssize_t n = -1;
  if (library.open(in.get(), from, kBlock) == ARCHIVE_OK &&
      library.next_header(in.get(), &entry) == ARCHIVE_OK) {
    while ((n = library.read(in.get(), block.data(), block.size())) > 0) {
      if (!Write(to, block, static_cast<size_t>(n))) return {};
    }
  }
  // One that is empty, or was, is no archive to it.
  if (n >= 0 || library.bytes(in.get(), 0) == 0) return {};
  const char* why = library.error(in.get());
  return why == nullptr ? "it is damaged" : why;
}

}  // namespace

bool IsCompressed(const std::string& path) { return !EndingOf(path).empty(); }

std::string WithoutCompression(const std::string& path) {
  return path.substr(0, path.size() - EndingOf(path).size());
}

void RequireDecompressor(const std::string& path) {
  IsGzip(path) ? void(LibZ::Get()) : void(LibArchive::Get());
}

std::string Decompress(const std::string& path, int from, int to) {
  return IsGzip(path) ? Gunzip(from, to).Run() : ReadArchive(from, to);
}

}  // namespace cq
