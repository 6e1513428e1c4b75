"""What a command is given of its surroundings, so that it can be run without any."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The environment and the standard streams."""

    environ: Mapping[str, str]
    source: TextIO
    out: TextIO
    err: TextIO
