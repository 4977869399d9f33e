"""What the scripts of Python peers share."""
import sys
import time


def twice(x):
    return 2 * x


def measure(name, module, start, run, chunk, stop=lambda pool: None):
    """`start()` gives a pool with two workers that are up; `run(pool, xs)` the results."""
    n = int(sys.argv[1])
    try:
        version = __import__("importlib.metadata").metadata.version(module) if module else sys.version.split()[0]
        begin = time.perf_counter()
        pool = start()
        run(pool, range(1, 21))
    except ImportError as error:
        sys.stderr.write("%s is not installed: %s\n" % (name, error))
        sys.exit(3)
    up = time.perf_counter()
    results = run(pool, range(1, n + 1))
    end = time.perf_counter()
    assert sum(results) == n * (n + 1), "wrong results"
    print("%s,%s,%d,%.3f,%.6f,%s" % (name, version, n, up - begin, end - up, chunk), flush=True)
    stop(pool)
