import json
import subprocess

import cq
from crops import Crops


def fit(penalty):
    command = ["changepoint", "--penalty", repr(penalty), "../changepoint/Mono27ac.bedGraph"]
    return json.loads(subprocess.check_output(command))


crops = Crops()


def between(row, result, results):
    return [{"penalty": p} for p in crops.add(row["penalty"], result["segments"], result["loss"])]


cq.serve(fit, propose=between)
