#include "protocol/connection_file.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/files.h"
#include "base/json.h"
#include "cq/error.h"

namespace cq {

KeyPair MakeKeyPair() {
  std::array<char, 41> public_key{};
  std::array<char, 41> secret_key{};
  if (zmq_curve_keypair(public_key.data(), secret_key.data()) != 0) {
    throw Error(fmt::format("cannot make CURVE keys: {}; libzmq was built without libsodium",
                            zmq_strerror(zmq_errno())));
  }
  return {public_key.data(), secret_key.data()};
}

namespace {

OrderedJson JsonOfCapacity(const Capacity& capacity) {
  OrderedJson json = OrderedJson::object();
  if (capacity.cpus) json["cpus"] = *capacity.cpus;
  if (capacity.memory_bytes) json["memory"] = *capacity.memory_bytes;
  if (!capacity.needs.empty()) json["resources"] = capacity.needs;
  if (capacity.cpus_of_task > 0) json["cpus_of_task"] = capacity.cpus_of_task;
  if (capacity.memory_of_task > 0) json["memory_of_task"] = capacity.memory_of_task;
  return json;
}

Capacity CapacityOfJson(const OrderedJson& json) {
  Capacity capacity;
  if (json.contains("cpus")) capacity.cpus = json["cpus"].get<uint64_t>();
  if (json.contains("memory")) capacity.memory_bytes = json["memory"].get<uint64_t>();
  if (json.contains("resources")) json["resources"].get_to(capacity.needs);
  capacity.cpus_of_task = json.value("cpus_of_task", uint64_t{0});
  capacity.memory_of_task = json.value("memory_of_task", uint64_t{0});
  return capacity;
}

}  // namespace

void WriteConnectionFile(const std::string& path, const ConnectionFile& file) {
  OrderedJson json = {{"format", 1},
                      {"run", file.run},
                      {"endpoints", file.endpoints},
                      {"server_public", file.server_public},
                      {"client_public", file.client.public_key},
                      {"client_secret", file.client.secret_key}};
  if (!file.local.empty()) json["local"] = JsonOfBytes(file.local);
  if (file.lends) json["lends"] = true;
  for (const auto& [name, capacity] : file.pools) json["pools"][name] = JsonOfCapacity(capacity);
  ReplaceFile(path, JsonText(json, 2) + "\n", 0600);
}

void WriteConnectionPointer(const std::string& path, const std::string& target) {
  const OrderedJson json = {{"format", 1}, {"keys_in", JsonOfBytes(target)}};
  ReplaceFile(path, JsonText(json, 2) + "\n", 0600);
}

namespace {

ConnectionFile Read(const std::string& path, bool follow) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    throw Error(fmt::format("cannot read the connection file '{}': {}", path, strerror(errno)));
  }
  const std::string text = ReadFile(path);
  const auto pointer = TryParseJson(text);
  if (follow && pointer.is_object() && pointer.contains("keys_in")) {
    try {
      return Read(BytesOfJson(pointer["keys_in"]), false);
    } catch (const OrderedJson::exception& error) {
      throw Error(fmt::format("'{}' is no connection file of cq: {}", path, error.what()));
    }
  }
  if ((status.st_mode & 077) != 0) {
    throw Error(
        fmt::format("the connection file '{}' holds keys and can be read by others (mode "
                    "{:o}); make it yours alone: chmod 600 '{}'",
                    path, status.st_mode & 0777, path));
  }
  try {
    const auto json = ParseJson(text);
    ConnectionFile file;
    if (json.at("format").get<int>() != 1) {
      throw Error(fmt::format("the connection file '{}' has format {}, this cq reads format 1",
                              path, JsonText(json.at("format"))));
    }
    json.at("run").get_to(file.run);
    json.at("endpoints").get_to(file.endpoints);
    json.at("server_public").get_to(file.server_public);
    json.at("client_public").get_to(file.client.public_key);
    json.at("client_secret").get_to(file.client.secret_key);
    if (json.contains("local")) file.local = BytesOfJson(json["local"]);
    file.lends = json.value("lends", false);
    if (json.contains("pools")) {
      for (const auto& [name, capacity] : json["pools"].items()) {
        file.pools[name] = CapacityOfJson(capacity);
      }
    }
    return file;
  } catch (const OrderedJson::exception& error) {
    throw Error(fmt::format("'{}' is no connection file of cq: {}", path, error.what()));
  }
}

}  // namespace

ConnectionFile ReadConnectionFile(const std::string& path) { return Read(path, true); }

bool IsOurs(const std::string& local) {
  constexpr std::string_view kScheme = "ipc://";
  if (!local.starts_with(kScheme)) return false;
  const std::filesystem::path path = local.substr(kScheme.size());
  struct stat socket {};
  struct stat directory {};
  return stat(path.c_str(), &socket) == 0 && S_ISSOCK(socket.st_mode) &&
         lstat(path.parent_path().c_str(), &directory) == 0 && S_ISDIR(directory.st_mode) &&
         directory.st_uid == geteuid() && (directory.st_mode & 077) == 0;
}

}  // namespace cq
