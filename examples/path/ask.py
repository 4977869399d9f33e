import cq
from crops import Crops

crops = Crops()
fitted, named = 0, 2  # the two of ends.csv


def more(endings, want):
    global fitted, named
    rows = []
    for e in endings:
        if e["status"] == "waiting":
            continue
        fitted += 1
        if e["status"] == "ok":
            rows += [{"penalty": p} for p in crops.add(float(e["row"]["penalty"]), e["value"]["segments"], e["value"]["loss"])]
    named += len(rows)
    return rows if rows else cq.DONE if fitted == named else None


cq.ask(more)
