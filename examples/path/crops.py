# Which penalties to try next, by the models so far.


class Crops:
    def __init__(self):
        self.models = {}

    def add(self, penalty, segments, loss):
        """The penalties that follow from one more model."""
        self.models[penalty] = (segments, loss)
        known = sorted(self.models)
        at = known.index(penalty)
        near = known[max(at - 1, 0):at + 2]
        between = []
        for a, b in zip(near, near[1:]):
            (more, fits), (fewer, fits_less) = self.models[a], self.models[b]
            if more - fewer <= 1:
                continue
            equal = (fits_less - fits) / (more - fewer)
            if a < equal < b:
                between.append(equal)
        return between
