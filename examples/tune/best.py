# best.py TRIALS.csv: the five best rows.
import csv
import sys

rows = [r for r in csv.DictReader(open(sys.argv[1])) if r["cq_status"] == "ok"]
for r in sorted(rows, key=lambda r: float(r["loss"]))[:5]:
    print("%.4f  rate %.2g, depth %s, dropout %.2f" % (float(r["loss"]), float(r["rate"]), r["depth"], float(r["dropout"])))
