"""The chart's README is made of the comments of its values."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "helm" / "values_reference.py"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("values_reference", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_it_is_up_to_date(reference: ModuleType):
    assert reference.main(["--check"]) == 0


def test_maps_are_sections_and_values_rows(reference: ModuleType):
    text = "# Alone.\nalone: 1\n# Of both.\ngroup:\n  # With a | bar.\n  key: {}\n  # Inner\n  # lines.\n  inner: [a]\n"
    page = reference.page(text)
    assert "| `alone` | Alone. | `1` |" in page
    assert "### group\n\nOf both.\n" in page
    assert "| `group.key` | With a \\| bar. | `{}` |" in page
    assert '| `group.inner` | Inner lines. | `["a"]` |' in page


@pytest.mark.parametrize("text", ["a: 1\n", "# A.\na:\n  # B.\n  b: 1\n  c: 2\n"])
def test_a_value_without_a_comment_is_refused(reference: ModuleType, text: str):
    with pytest.raises(reference.Undocumented):
        reference.page(text)
