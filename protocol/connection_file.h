#pragma once

#include <map>
#include <string>
#include <vector>

#include "protocol/ids.h"
#include "protocol/task_request.h"

namespace cq {

/// A CURVE key pair, both halves in Z85 (40 characters).
struct KeyPair {
  std::string public_key;
  std::string secret_key;
};

KeyPair MakeKeyPair();

/// What a worker needs to connect: `connect.json` (PROTOCOL.md, "Transport").
struct ConnectionFile {
  RunId run = 0;
  /// `tcp://HOST:PORT`; a worker tries all.
  std::vector<std::string> endpoints;
  std::string server_public;
  KeyPair client;
  /// `ipc://PATH`, for workers that the master starts on its own machine; empty: there is none.
  std::string local = {};
  /// The master is a warm pool's: its workers lend their slots to runs (loan_order.h).
  bool lends = false;
  /// What the workers of each pool have for their tasks, as far as that was said.
  std::map<std::string, Capacity> pools = {};
};

/// Replaces the file atomically, with mode 0600. Throws Error.
void WriteConnectionFile(const std::string& path, const ConnectionFile& file);

/// Whether the socket of `local` is there, in a directory that nobody else can enter: whoever
/// answers at it is this user's.
bool IsOurs(const std::string& local);

/// Leaves word at `path` that the connection file is `target`.
void WriteConnectionPointer(const std::string& path, const std::string& target);

/// Goes where the file at `path` points, if it does. Throws Error that names the file and what is
/// wrong with it.
ConnectionFile ReadConnectionFile(const std::string& path);

}  // namespace cq
