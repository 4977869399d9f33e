#pragma once

#include <string>

namespace cq {

/// Whether a file of this name is compressed: .gz, .zst, .xz, .bz2.
bool IsCompressed(const std::string& path);
/// The name without that ending.
std::string WithoutCompression(const std::string& path);

/// Loads the library that a file of this name takes. Throws UsageError if it is not there.
void RequireDecompressor(const std::string& path);

/// Writes what the file of this name that is open as `from` was before it was compressed. Returns
/// why that cannot be made out to its end, checksums included; empty if it could, or nobody reads
/// any more.
std::string Decompress(const std::string& path, int from, int to);

}  // namespace cq
