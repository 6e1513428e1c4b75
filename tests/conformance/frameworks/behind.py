"""What a test has to know of the backend behind Mimic."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Behind:
    """base_url: Mimic's. dialect: of the backend. piecemeal: its streams come in pieces."""

    base_url: str
    dialect: str
    piecemeal: bool
