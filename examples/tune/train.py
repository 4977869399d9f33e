# Stands for a model that is trained: prints its loss.
import json
import math
import os
import random
import sys
import time

rate, depth, dropout = float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
random.seed(int(os.environ["CQ_SEED"]))
time.sleep(0.02 * depth)
if rate > 0.5 and dropout < 0.1:
    sys.exit("the loss is not finite")
loss = (math.log10(rate) + 2) ** 2 + (depth - 6) ** 2 / 10 + 4 * (dropout - 0.3) ** 2
print(json.dumps({"loss": loss + random.gauss(0, 0.05)}))
