"""The status page as it is shipped: one document, and a policy that allows it and nothing else."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from mimic_proxy.web.status import Page, assemble, status_page


class Elements(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page() -> Page:
    return status_page()


@pytest.fixture(scope="module")
def elements(page: Page) -> list[tuple[str, dict[str, str | None]]]:
    return Elements(page.body.decode()).found


def inside(page: Page, tag: str) -> str:
    """The text of the only element of its name."""
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", page.body.decode(), re.DOTALL)
    assert len(found) == 1, tag
    return found[0]


def test_style_and_script_stand_inside_and_only_they_are_allowed(page: Page):
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(inside(page, tag).encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"


def test_nothing_is_loaded_from_anywhere(page: Page, elements: list[tuple[str, dict[str, str | None]]]):
    for tag, attributes in elements:
        assert "src" not in attributes, tag
        assert (attributes.get("href") or "/").startswith(("/", "#", "data:")), attributes
        assert not {name for name in attributes if name.startswith("on") or name == "style"}, attributes
    assert "url(" not in inside(page, "style")
    assert "@import" not in inside(page, "style")


def test_what_callers_chose_never_becomes_markup(page: Page):
    script = inside(page, "script")
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert way not in script


def test_every_element_that_the_script_asks_for_is_there(page: Page, elements: list[tuple[str, dict[str, str | None]]]):
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    asked = set(re.findall(r'byId\("([a-z-]+)"\)', inside(page, "script")))
    assert len(asked) > 20
    assert asked <= set(ids)
    labelled = {name for _, attributes in elements if (name := attributes.get("aria-labelledby"))}
    assert labelled <= set(ids)


def test_a_changed_script_changes_the_policy():
    document = "<style></style><script></script>"
    one, other = assemble(document, "p {}", "1"), assemble(document, "p {}", "2")
    assert one.body == b"<style>p {}</style><script>1</script>"
    assert one.headers["content-security-policy"] != other.headers["content-security-policy"]
