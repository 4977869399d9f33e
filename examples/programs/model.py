# How long a random walk with drift `alpha` takes to leave an interval: one call for each row.
import random

import cq


def walk(alpha, limit):
    position, steps = 0.0, 0
    while abs(position) < limit:
        position += alpha + random.gauss(0, 1)
        steps += 1
    return {"steps": steps, "end": position}


cq.serve(walk)
