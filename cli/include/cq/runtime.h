#pragma once

namespace cq {

/// The first line of the `main` of a program that embeds a master. The same program is started as
/// its workers and in their slots: there the constructor does what is wanted and does not return.
///
///   int main(int argc, char** argv) {
///     cq::Runtime runtime(argc, argv);
class Runtime {
 public:
  Runtime(int argc, char** argv);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
};

}  // namespace cq
