"""The page of all settings: complete, and as the settings are."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from mimic_operator import reconcile
from mimic_operator.reconcile.rollout import Phase
from mimic_operator.resource import naming
from mimic_operator.resource.warnings import INSECURE
from mimic_operator.resource.warnings import REASONS as WARNINGS
from mimic_operator.webhook.outcomes import NOTES, OUTCOMES
from mimic_proxy.settings import grants
from mimic_proxy.settings.fields import READERS, SECRETS
from mimic_proxy.settings.presets import PRESETS
from reference import injection, names, settings

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"


def rows() -> dict[str, list[str]]:
    lines = [line for line in settings.page().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    return {each[0].strip("`"): each[1:] for each in cells}


def test_the_page_is_what_the_settings_say() -> None:
    assert PAGE.read_text("utf-8") == settings.page(), "make reference"


def test_every_setting_and_every_preset_has_a_row_with_a_meaning_and_a_value() -> None:
    assert rows().keys() == {*READERS, *SECRETS, *PRESETS}
    assert all(meaning and value for meaning, value, *_ in rows().values())


def test_every_setting_of_a_grant_names_it() -> None:
    for name, (_, _, _, _, used) in ((name, row) for name, row in rows().items() if name not in PRESETS):
        assert bool(used) == (name in grants.SPECIFIC or name == "TOKEN_URL"), name


def test_every_label_and_annotation_of_the_operator_is_on_the_page_of_names() -> None:
    declared = {value for name, value in vars(naming).items() if name.startswith(("LABEL_", "ANNOTATION_"))}
    lines = [line.split("`")[1] for line in names.page().splitlines() if line.startswith(f"| `{naming.GROUP}/")]
    assert set(lines) == declared


def test_every_word_of_an_admission_and_every_caution_is_on_its_page() -> None:
    """The pages themselves are made anew by `make check`; here stands what must be on them."""
    words = {*OUTCOMES, *NOTES}
    for page in (injection.page(), names.page()):
        rows = {line.split("|")[1].strip(" `") for line in page.splitlines() if line.startswith("| ")}
        assert words <= rows
    rows = {line.split("|")[1].strip(" `") for line in names.page().splitlines() if line.startswith("| ")}
    assert set(WARNINGS) <= rows


def test_every_condition_s_reason_is_on_the_page_and_none_that_nobody_gives() -> None:
    told = {reason.strip() for _, _, reasons in names.CONDITIONS for reason in reasons.split(",")}
    told = {reason for reason in told if reason.isalpha()}  # a sentence is none
    given, spoken = reasons_in_code()
    assert given <= told, "a reason of a condition has no row in reference/names.py"
    assert told <= spoken | set(get_args(Phase)) | set(INSECURE), "a reason is on the page that no code gives"


def reasons_in_code() -> tuple[set[str], set[str]]:
    """Reasons that conditions are made with, and all texts of the reconciler's modules."""
    given, spoken = set(), set()
    for file in Path(reconcile.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                spoken.add(node.value)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Verdict", "Stuck"):
                given |= {each.value for each in node.args[1:2] if isinstance(each, ast.Constant)}
    return given, spoken


def test_labels_and_annotations_are_declared_in_one_place() -> None:
    sources = Path(naming.__file__).parent.parent.rglob("*.py")
    elsewhere = {
        file.name
        for file in sources
        if file != Path(naming.__file__)
        and re.search(r"^(LABEL|ANNOTATION)_\w+ = f?\"({GROUP}|mimic\.dev)/", file.read_text("utf-8"), re.MULTILINE)
    }
    assert elsewhere == set()


def test_the_page_of_names_says_how_a_client_key_is_named() -> None:
    (row,) = [
        line for line in names.page().splitlines() if naming.ANNOTATION_CLIENT_KEY_SECRET in line and "you" in line
    ]
    assert "NAME or NAME/KEY" in row
    assert "OPENAI_API_KEY" in row


def test_defaults_and_bounds_are_told() -> None:
    found = rows()
    assert found["PORT"][1:3] == ["whole number from 0 to 65535", "`8000`"]
    assert found["HOST"][2] == "`127.0.0.1,::1`"
    assert found["IDLE_TIMEOUT"][1:3] == ["seconds, 0 or more", "`300`"]
    assert found["CHAT_API_URL"][2] == "required"
    assert found["AUTH_CODE"][1:] == ["secret, or `AUTH_CODE_FILE`", "-", "to the next token", "**`auth_code`**"]
    assert found["LOG_LEVEL"][1] == "`DEBUG`, `INFO`, `WARNING`, `ERROR`"


def test_a_setting_that_nothing_is_said_of_is_refused() -> None:
    with pytest.raises(ValueError, match="NAME has no docstring"):
        settings._docstring(None, "NAME")


def test_a_value_whose_reader_is_not_known_is_told_by_its_type() -> None:
    assert settings._plain(tuple[str, ...]) == "list, separated by commas"
    assert settings._plain(int | None) == "whole number"
