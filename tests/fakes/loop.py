"""What a fixture of all tests hands out."""

import asyncio
from collections.abc import Callable
from typing import Any

LoopFaults = Callable[[Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]], None]
"""Sets who hears of faults in callbacks of the running loop, until the test ends."""
