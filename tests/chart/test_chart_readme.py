"""The chart's README is made of the comments of its values."""

import pytest

from fakes.helm import CHART
from reference import chart_values


def test_it_is_up_to_date():
    wanted = chart_values.page((CHART / "values.yaml").read_text("utf-8"))
    assert (CHART / "README.md").read_text("utf-8") == wanted


def test_maps_are_sections_and_values_rows():
    text = "# Alone.\nalone: 1\n# Of both.\ngroup:\n  # With a | bar.\n  key: {}\n  # Inner\n  # lines.\n  inner: [a]\n"
    page = chart_values.page(text)
    assert "| `alone` | Alone. | `1` |" in page
    assert "### group\n\nOf both.\n" in page
    assert "| `group.key` | With a \\| bar. | `{}` |" in page
    assert '| `group.inner` | Inner lines. | `["a"]` |' in page


@pytest.mark.parametrize("text", ["a: 1\n", "# A.\na:\n  # B.\n  b: 1\n  c: 2\n"])
def test_a_value_without_a_comment_is_refused(text: str):
    with pytest.raises(chart_values.Undocumented):
        chart_values.page(text)
