"""The operator's log lines have the proxy's form, whoever speaks."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from mimic_operator.runtime.logs import configure, record_json
from mimic_proxy.telemetry.logs import record_json as proxy_json


@pytest.fixture
def sink() -> Iterator[io.BytesIO]:
    """Where all of `logging` goes meanwhile."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    sink = io.BytesIO()
    configure(level="INFO", style="json", sink=sink)
    yield sink
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def record(message: str = "said", *, broken: bool = False, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("mimic.queue", logging.WARNING, __file__, 1, message, (), None)
    if broken:
        try:
            raise ValueError("in two\nlines")
        except ValueError as error:
            made.exc_info = (ValueError, error, error.__traceback__)
    vars(made).update(extra)
    return made


@pytest.mark.parametrize(
    "made",
    [
        record(),
        record("über\u2028zwei\nZeilen \x1b[31m"),
        record(broken=True),
        record(key="shop/corp", reason="conflict", retry_seconds=0.5),
    ],
    ids=["plain", "what a terminal would obey", "exception", "extra"],
)
def test_a_line_is_the_one_that_the_proxy_would_write(made: logging.LogRecord):
    ours, theirs = record_json(made), proxy_json(made)
    assert ours == theirs
    assert ours.count(b"\n") == 1
    line = json.loads(ours)
    assert list(line)[:4] == ["time", "level", "logger", "message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


def test_kopfs_lines_say_which_object_they_are_about_and_keep_its_content_to_themselves(sink: io.BytesIO):
    reference = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "namespace": "shop", "name": "corp"}
    extra = {"k8s_ref": {**reference, "uid": "u1"}, "k8s_skip": True, "settings": object()}
    logging.getLogger("kopf.webhooks").warning("Something of kopf's", extra=extra)
    (line,) = [json.loads(each) for each in sink.getvalue().splitlines()]
    assert {name: value for name, value in line.items() if name != "time"} == {
        "level": "WARNING",
        "logger": "kopf.webhooks",
        "message": "Something of kopf's",
        "key": "shop/corp",
    }


def test_a_line_at_info_of_a_library_that_chatters_is_left_out(sink: io.BytesIO):
    for name in ("httpx2", "kopf.activities", "aiohttp.access"):
        logging.getLogger(name).info("chatter")
    logging.getLogger("mimic.queue").info("ours")
    assert [json.loads(each)["message"] for each in sink.getvalue().splitlines()] == ["ours"]
