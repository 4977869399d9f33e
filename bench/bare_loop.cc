// bare_loop N THREADS PROGRAM: the floor: PROGRAM is spawned and waited for N times, by THREADS
// threads at a time, and nothing else.
#include <spawn.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

extern char** environ;

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  std::atomic<long> left(std::atol(argv[1]));
  std::vector<std::thread> threads;
  for (int i = 0; i < std::atoi(argv[2]); ++i) {
    threads.emplace_back([&] {
      while (left-- > 0) {
        char* words[] = {argv[3], nullptr};
        pid_t pid = 0;
        int status = 0;
        if (posix_spawn(&pid, argv[3], nullptr, nullptr, words, environ) == 0) {
          waitpid(pid, &status, 0);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}
