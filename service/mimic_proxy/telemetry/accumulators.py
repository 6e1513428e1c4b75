"""Counts on the hot path: plain integers, rendered only when somebody scrapes.

A prometheus_client counter takes a lock and a histogram walks its buckets in Python; on a relay that forwards tens of
thousands of exchanges a second they cost more than the relaying. Here an observation is a dict lookup and an addition.
Not thread-safe: observed and rendered in the thread of the event loop.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

Key = tuple[object, ...]
"""One value for each label, in the order of the labels; made into text when rendered."""


class Counter:
    """Counts by label values."""

    __slots__ = ("_counts", "labels")

    def __init__(self, labels: Sequence[str], children: Iterable[Key] = ()) -> None:
        """`children` are there from the start, at 0: a rate does not see the event that a series begins with."""
        self.labels = tuple(labels)
        self._counts: dict[Key, int] = dict.fromkeys(children, 0)

    def add(self, key: Key) -> None:
        counts = self._counts
        counts[key] = counts.get(key, 0) + 1

    def rendered(self) -> Iterator[tuple[list[str], int]]:
        """Label values and count of every child."""
        for key, count in self._counts.items():
            yield [label_value(part) for part in key], count


class Histogram:
    """Distributions by label values, with an upper bound for each bucket that belongs to it (`le`)."""

    __slots__ = ("_buckets", "_sums", "bounds", "labels")

    def __init__(self, labels: Sequence[str], bounds: Sequence[float]) -> None:
        """`bounds` ascend; the bucket above the last of them is implied."""
        self.labels = tuple(labels)
        self.bounds = list(bounds)
        self._buckets: dict[Key, list[int]] = {}
        self._sums: dict[Key, float] = {}

    def observe(self, key: Key, value: float) -> None:
        buckets = self._buckets.get(key)
        if buckets is None:
            buckets = self._buckets[key] = [0] * (len(self.bounds) + 1)
            self._sums[key] = 0.0
        buckets[bisect_left(self.bounds, value)] += 1
        self._sums[key] += value

    def rendered(self) -> Iterator[tuple[list[str], list[tuple[str, float]], float]]:
        """Label values, cumulated buckets by the text of their bound, and the sum of every child."""
        bounds = [*(f"{bound:.12g}" for bound in self.bounds), "+Inf"]
        for key, buckets in self._buckets.items():
            total = 0
            cumulated: list[tuple[str, float]] = []
            for bound, count in zip(bounds, buckets, strict=True):
                total += count
                cumulated.append((bound, total))
            yield [label_value(part) for part in key], cumulated, self._sums[key]


def label_value(part: object) -> str:
    """A label's value as text; booleans in lower case, as Prometheus's users write them."""
    return str(part).lower() if isinstance(part, bool) else str(part)
