"""What commands have in common."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TypeVar

DOTENV = Path(".env")
Say = Callable[[str], None]
"""Gets one line for a person."""
Result = TypeVar("Result")


def say(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)


def in_a_loop(work: Coroutine[None, None, Result]) -> Result:
    """Runs a coroutine to its end, on uvloop where it exists."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        from uvloop import new_event_loop as factory
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)
