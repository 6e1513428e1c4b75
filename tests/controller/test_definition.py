"""The CustomResourceDefinition and the pages made of the same declarations."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from mimic_operator.reconcile import status
from mimic_operator.reconcile.rollout import Phase
from mimic_operator.resource import naming
from mimic_operator.resource.crd import schema
from mimic_operator.resource.rules import RULES
from reference import names
from reference.__main__ import wanted


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from nodes(schema[name], f"{path}[]")


SPEC = dict(nodes(schema()["properties"]["spec"], "spec"))


def test_generated_files_are_up_to_date():
    stale = [path for path, text in wanted().items() if not path.is_file() or path.read_text("utf-8") != text]
    assert stale == [], "`make reference` writes them"


def test_everything_has_a_bound_so_that_rules_over_it_have_a_price():
    for path, node in SPEC.items():
        if node.get("type") == "string" and "enum" not in node:
            assert node["maxLength"] <= (65_536 if path == "spec.tls.caBundle" else 4096), path
        if node.get("type") == "array":
            assert node["maxItems"] <= 256, path
        if "additionalProperties" in node:
            assert node["maxProperties"] <= 32, path


def test_every_field_says_what_it_is_for():
    assert [path for path, node in SPEC.items() if not node.get("description", "").strip()] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.path}: {rule.sentence[:40]}")
def test_rules_blame_a_field_that_is_there(rule: Any):
    assert rule.path in SPEC


def test_the_page_of_names_has_every_reason_of_a_condition():
    code = Path(status.__file__).read_text("utf-8")
    reasons = set(re.findall(r'Condition\(\s*"(?:True|False|Unknown)",\s*"(\w+)"', code)) | set(get_args(Phase))
    assert len(reasons) > 15
    page = names.page()
    assert {reason for reason in reasons if not re.search(rf"\b{reason}\b", page)} == set()


def test_the_page_of_names_has_every_label_and_annotation():
    page = names.page()
    for name, value in vars(naming).items():
        if name.startswith(("LABEL_", "ANNOTATION_", "MANAGER")):
            assert f"`{value}`" in page, name
