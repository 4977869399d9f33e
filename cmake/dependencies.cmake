# Every dependency is a Debian package; docs/dependencies.md says why each is here.
include(${CMAKE_CURRENT_LIST_DIR}/link_dependencies.cmake)
# Headers alone.
find_package(nlohmann_json 3.10 REQUIRED)
find_package(utf8cpp 3.2 REQUIRED)
find_path(MSGPACK_INCLUDE_DIR msgpack.hpp REQUIRED)
find_path(CPPZMQ_INCLUDE_DIR zmq.hpp REQUIRED)
find_path(ROBIN_MAP_INCLUDE_DIR tsl/robin_map.h REQUIRED)
find_path(RAPIDJSON_INCLUDE_DIR rapidjson/reader.h REQUIRED)
find_path(LIBARCHIVE_INCLUDE_DIR archive.h REQUIRED)  # loaded when it is needed
find_path(ZLIB_INCLUDE_DIR zlib.h REQUIRED)  # so, too
find_path(CSV_INCLUDE_DIR csv.h REQUIRED)
if(BUILD_TESTING)
  find_package(GTest 1.12 REQUIRED)
endif()
