#include <cq/run.h>

int main(int, char** argv) {
  cq::RunOptions options;
  options.input = "in.csv";
  options.command = {"test", "{a}", "=", "1"};
  options.worker_program = argv[1];
  cq::RunObserver quiet;
  const cq::RunSummary summary = cq::Run(options, quiet);
  return summary.status == 1 && summary.outcomes[0] == 1 && summary.outcomes[1] == 1 ? 0 : 1;
}
