"""What goes wrong between operator and API server, at random with a seed: refusals, resets, delays, silent watches."""

import random
from collections.abc import Callable

Trouble = str
"""`429`, `500`, `503`: a status; `reset`: of the connection; `delay`: 10 s; `silence`: a watch without a byte."""
SHARES: dict[Trouble, float] = {"429": 0.04, "500": 0.04, "503": 0.04, "reset": 0.04, "delay": 0.01}
SILENT_WATCHES = 0.2
"""Of the watch requests, so many say nothing until they are given up."""


def chaos(seed: int, active: Callable[[], bool]) -> Callable[[str, str, dict[str, str]], Trouble | None]:
    """Decides for each request what becomes of it; None lets it through."""
    draw = random.Random(seed)

    def decide(method: str, path: str, query: dict[str, str]) -> Trouble | None:
        at, silent = draw.random(), draw.random()
        if not active():
            return None
        if query.get("watch") == "true" and silent < SILENT_WATCHES:
            return "silence"
        for trouble, share in SHARES.items():
            if at < share:
                return trouble
            at -= share
        return None

    return decide
