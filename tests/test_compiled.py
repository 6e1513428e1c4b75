"""What the modules that a compiled wheel has in machine code may not hold. The build says nothing of it, and the wheel
fails at run time: a struct loses its options, and an object of a compiled class below an interpreted one leaves a
dangling pointer behind when a weak reference to it is dropped, as `logging` keeps to every handler.
"""

import enum
import importlib
import tomllib
import typing
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TARGETS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]
COMPILED = TARGETS["wheel"]["hooks"]["custom"]["compile"]
NEVER_WEAKLY_REFERRED_TO = {
    "mimic_proxy.http.headers.Names",
    "mimic_proxy.relay.connection.Connection",
    "mimic_proxy.relay.protocol.RelayProtocol",
}


def name_of(file: str) -> str:
    return ".".join(Path(file).relative_to("service").with_suffix("").parts)


@pytest.mark.parametrize("file", COMPILED)
def test_no_compiled_class_has_an_interpreted_one_above_it(file: str):
    compiled = {name_of(each) for each in COMPILED}
    module = importlib.import_module(name_of(file))
    for made in vars(module).values():
        if not isinstance(made, type) or made.__module__ != module.__name__ or issubclass(made, enum.Enum):
            continue
        foreign = {base for base in made.__mro__ if base.__module__ not in compiled} - {object, typing.Generic}
        foreign = {base for base in foreign if base is not typing.Protocol}
        assert not foreign or f"{module.__name__}.{made.__qualname__}" in NEVER_WEAKLY_REFERRED_TO, (made, foreign)
