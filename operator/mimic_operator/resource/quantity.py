"""Amounts as Kubernetes writes them: `250m`, `64Mi`, `1.5Gi` (apimachinery, resource.Quantity)."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mimic_operator.errors import Problem

PATTERN = r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
SCALE = {"": Decimal(1), "m": Decimal("0.001")}
SCALE |= {unit: Decimal(1000) ** (power + 1) for power, unit in enumerate("kMGTPE")}
SCALE |= {f"{unit}i": Decimal(1024) ** (power + 1) for power, unit in enumerate("KMGTPE")}


def amount(quantity: str) -> Decimal:
    """The quantity in its base unit: bytes, cores. Raises ValueError if it is none."""
    if re.fullmatch(PATTERN.strip("^$"), quantity) is None:
        raise ValueError("must be a quantity like 250m, 64Mi or 2")
    number = quantity.rstrip("mkMGTPEKi")
    return Decimal(number) * SCALE[quantity[len(number) :]]


def cel_amount(field: str) -> str:
    """A CEL expression for a thousand times the amount, as a double. CEL has quantities only since Kubernetes 1.30."""
    scales = ", ".join(f"'{unit}': {float(scale * 1000)!r}" for unit, scale in SCALE.items())
    text = f"string({field})"
    return f"double({text}.find('^[0-9.]+')) * {{{scales}}}[{text}.find('[A-Za-z]*$')]"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A field that holds a quantity, as a number or as text."""

    about: str

    def schema(self) -> dict[str, Any]:
        found = {"description": self.about, "anyOf": [{"type": "integer"}, {"type": "string"}]}
        return found | {"pattern": PATTERN, "maxLength": 32, "minimum": 0, "x-kubernetes-int-or-string": True}

    def read(self, value: object, path: str, problems: list[Problem]) -> str:
        text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
        try:
            amount(text)
        except ValueError as wrong:
            problems.append(Problem(path, str(wrong)))
            return "0"
        return text

    def write(self, value: Any) -> object:
        return value
