# For each row the largest penalty, to one in a hundred, at which the model has at least so many segments.
import json
import subprocess

import cq


def step(wanted, low, high):
    middle = (low * high) ** 0.5
    command = ["changepoint", "--penalty", repr(middle), "../changepoint/Mono27ac.bedGraph"]
    model = json.loads(subprocess.check_output(command))
    low, high = (middle, high) if model["segments"] >= wanted else (low, middle)
    if high / low > 1.01:
        cq.push(wanted=wanted, low=low, high=high)
    return dict(model, penalty=middle)


cq.serve(step)
