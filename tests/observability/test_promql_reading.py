"""The tests' own reader of PromQL, since others lean on it."""

import pytest

from fakes.promql import Matcher, Selector, read, without_comparisons

CASES = {
    "up": [Selector("up", ())],
    'rate(a_total{x="1",y=~"b|c"}[5m])': [
        Selector("a_total", (Matcher("x", "=", "1"), Matcher("y", "=~", "b|c"))),
    ],
    "sum by (le) (rate(h_bucket[$__rate_interval])) / (sum(n) > 0) or vector(0)": [
        Selector("h_bucket", ()),
        Selector("n", ()),
    ],
    "a and on (p) b == 1 unless count by (v) (c offset 5m)": [
        Selector("a", ()),
        Selector("b", ()),
        Selector("c", ()),
    ],
    "sum_over_time(ns:x:rate5m[30d]) * 30 >= 10": [Selector("ns:x:rate5m", ())],
    "time() - 1e3 + 0.001 * clamp_min(x, -3600)": [Selector("x", ())],
    'label_replace(a{b="sum(c)"}, "d", "$1", "e", "(.+)")': [Selector("a", (Matcher("b", "=", "sum(c)"),))],
}


@pytest.mark.parametrize("expr", CASES)
def test_metrics_and_matchers_are_found(expr: str):
    assert list(read(expr).selectors) == CASES[expr]


def test_labels_of_groups_and_joins_are_found():
    found = read("sum by (a, b) (x) / on (c) group_left (d) y unless ignoring (e) z")
    assert found.labels == {"a", "b", "c", "d", "e"}


def test_comparisons_become_numbers_and_matchers_stay():
    assert without_comparisons('a{b!="c",d=~"e"} >= 2 and x == 1') == 'a{b!="c",d=~"e"} >= bool 2 and x == bool 1'
