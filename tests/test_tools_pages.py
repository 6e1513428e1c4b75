"""docs/tools: every tool has a page, and the page names a trial."""

from mimic_proxy.cli.tools import TOOLS
from reference.tools import TRIALS, pages


def test_every_tool_has_a_page_with_its_trial_and_stands_in_the_index():
    made = pages()
    assert made.keys() == {"README.md", *(f"{name}.md" for name in TOOLS)}
    assert TRIALS.keys() == TOOLS.keys()
    for name in TOOLS:
        assert f"({name}.md)" in made["README.md"]
        assert f"Tried: {TRIALS[name].tried}" in made[f"{name}.md"]
