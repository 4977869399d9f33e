#pragma once

#include <map>
#include <string>

#include "master/run/run_directory.h"
#include "protocol/connection_file.h"

namespace cq {

/// The keys of a run, which its masters share, and where they are kept: in the run directory or,
/// where that can keep no file private, under `~/.local/state/cq/`, with a note of it in
/// `connect.json`.
class RunKeys {
 public:
  /// Those of an earlier master of this run, else fresh ones.
  RunKeys(const RunDirectory& directory, RunId run);

  const KeyPair& server() const { return server_; }
  const std::string& client_public() const { return connection_.client.public_key; }
  /// Where an earlier master was bound; 0: there was none.
  int port() const;
  /// Not in the run directory but here; empty otherwise.
  const std::string& elsewhere() const { return elsewhere_; }

  /// Writes `server.key` and `connect.json`; `lends` and `pools` as there. Throws Error.
  void Write(std::vector<std::string> endpoints, std::string local, bool lends,
             std::map<std::string, Capacity> pools);
  /// Of a run that needs them no more: removes what is outside the run directory.
  void Remove() const;

 private:
  std::string File(const char* name) const;

  const RunDirectory& directory_;
  std::string elsewhere_;
  KeyPair server_;
  ConnectionFile connection_;
};

}  // namespace cq
