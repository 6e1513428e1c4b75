"""Counts on the hot path: plain numbers, rendered only when somebody scrapes. Pure.

A prometheus_client counter takes a lock and a histogram walks its buckets in Python; on a relay that forwards tens of
thousands of exchanges a second they cost more than the relaying. Here an observation is a bisection and two additions
on a child that its user keeps. Not thread-safe: counted and rendered in the thread of the event loop.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

Key = tuple[str, ...]
"""One value for each label, in the order of the labels."""


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1) -> None:
        self.value += amount


class Exemplar:
    """The last sampled observation of a bucket: where it can be looked at, its value, and its Unix time."""

    __slots__ = ("span_id", "time", "trace_id", "value")

    def __init__(self, trace_id: str, span_id: str, value: float, time: float) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.value = value
        self.time = time


class Distribution:
    """One series of a histogram; a bucket holds what is at most its bound (`le`)."""

    __slots__ = ("bounds", "buckets", "exemplars", "sum")

    def __init__(self, bounds: list[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def observe(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def exemplify(self, exemplar: Exemplar) -> None:
        """Show this as an example of the bucket that its value belongs to; it has been observed."""
        self.exemplars[bisect_left(self.bounds, exemplar.value)] = exemplar


class Counter:
    """Series by label values."""

    __slots__ = ("labels", "series")

    def __init__(self, labels: Sequence[str], children: Iterable[Key] = ()) -> None:
        """`children` are there from the start, at 0: a rate does not see the event that a series begins with."""
        self.labels = tuple(labels)
        self.series: dict[Key, Count] = {key: Count() for key in children}

    def child(self, *key: str) -> Count:
        found = self.series.get(key)
        if found is None:
            found = self.series[key] = Count()
        return found

    def add(self, *key: str, amount: float = 1) -> None:
        self.child(*key).value += amount


class Histogram:
    """Distributions by label values. `bounds` ascend; the bucket above the last of them is implied."""

    __slots__ = ("bounds", "labels", "series")

    def __init__(self, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.labels = tuple(labels)
        self.bounds = list(bounds)
        self.series: dict[Key, Distribution] = {}

    def child(self, *key: str) -> Distribution:
        found = self.series.get(key)
        if found is None:
            found = self.series[key] = Distribution(self.bounds)
        return found

    def cumulated(self) -> Iterator[tuple[Key, list[tuple[str, int, Exemplar | None]], float]]:
        """Label values, cumulated buckets by the text of their bound, and the sum of every series."""
        bounds = [*(f"{bound:.12g}" for bound in self.bounds), "+Inf"]
        for key, child in self.series.items():
            total = 0
            buckets: list[tuple[str, int, Exemplar | None]] = []
            for position, (bound, count) in enumerate(zip(bounds, child.buckets, strict=True)):
                total += count
                buckets.append((bound, total, child.exemplars.get(position)))
            yield key, buckets, child.sum
