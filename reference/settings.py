"""docs/reference/settings.md: every setting as its field in `mimic_proxy.settings.fields` describes it. Pure.

What a setting means is the docstring below its field; the comment above a group of fields is its heading.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from mimic_proxy.settings import fields as settings
from mimic_proxy.settings import grants, presets, values
from mimic_proxy.settings.fields import APPLIES, HINTS, READERS, SECRETS, Settings

HEADING = re.compile(r"    # ([A-Z][^.]*)\.")
KINDS: dict[values.Reader, str] = {
    values.text: "text",
    values.flag: "`True` or `False`",
    values.seconds: "seconds, 0 or more",
    values.positive_seconds: "seconds, more than 0",
    values.addresses: "addresses, separated by commas",
    values.comma_list: "list, separated by commas",
    values.host_names: "host names, separated by commas",
    values.networks: "IP addresses or networks, separated by commas",
    values.origins: "origins, separated by commas",
    values.path: "path of a file",
    values.url: "URL",
    values.base_url: "URL",
    values.proxy: "URL",
    values.pairs: "`name=value` separated by commas, a JSON object, or a mapping in YAML",
    values.header_pairs: "`name=value` separated by commas, a JSON object, or a mapping in YAML",
    values.some_pointers: "places in JSON, separated by commas",
    values.one_pointer: "a place in JSON",
    values.renames: "name=other, separated by commas",
    values.json_object: "a JSON object",
    values.pointers: "places in JSON, separated by commas",
    values.header_name: "name of a header field",
    values.token_format: "text with `{token}` in it",
    values.secret_format: "text with `{secret}` in it",
    values.token_type: "word or URI",
    values.segment: "letters, digits, `.`, `_`, `~`, `-`",
}
"""What each reader wants; `Whole` and `OneOf` say it themselves."""
PLAIN = {str: "text", int: "whole number", float: "number", bool: "`True` or `False`", Path: "path of a file"}
HEAD = """# Settings

Every setting, by the name of its variable. Settings come from the environment, then from `.env` in the working
directory, then from the YAML file that `MIMIC_CONFIG` names (the same names in lower case), then from `PRESET`; the
first that has a value wins. Each secret may come from a file instead, `AUTH_CODE_FILE` and so on, which is read again
when it changes. 0 seconds switch a limit off. Telemetry takes the standard `OTEL_*` variables besides:
[tracing.md](../tracing.md). The three proxy variables count in lower case too, and then first.

Where grants are named, a setting is for these alone; those in bold need it. [tokens.md](../tokens.md) tells of grants
and presets.

This page is written by `make reference` from `service/mimic_proxy/settings/fields.py`.
"""
ASKING = tuple(grant for grant in grants.NEEDED if grant not in grants.WITHOUT_SERVICE)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the settings as its source has it. name: of the variable."""

    name: str
    heading: str
    meaning: str


def page() -> str:
    """The whole page. Raises ValueError for a setting that nothing is said of."""
    lines, heading = [HEAD], ""
    for field in documented():
        if field.heading != heading:
            lines += [] if not heading else [""]
            heading = field.heading
            lines += [
                f"## {heading}",
                "",
                "| name | meaning | value | default | a change holds | grants |",
                "| --- | --- | --- | --- | --- | --- |",
            ]
        name = field.name
        cells = (f"`{name}`", field.meaning, kind(name), default(name), APPLIES[name].value, used_by(name))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, *_presets(), ""])


def documented() -> Iterator[Field]:
    """Every setting in the order of the source."""
    source = inspect.getsource(settings)
    lines = source.splitlines()
    (made,) = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Settings"]
    heading = ""
    for number, statement in enumerate(made.body):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        name = statement.target.id.upper()
        if name not in READERS and name not in SECRETS:
            continue
        heading = _heading(lines, made.body[number - 1].end_lineno or 0, statement.lineno) or heading
        following = made.body[number + 1] if number + 1 < len(made.body) else None
        yield Field(name, heading, _docstring(following, name))


def kind(name: str) -> str:
    """What may be set."""
    if name in SECRETS:
        return f"secret, or `{name}_FILE`"
    reader = READERS[name]
    if isinstance(reader, values.OneOf):
        return ", ".join(f"`{word}`" for word in reader.words)
    if isinstance(reader, values.Whole):
        return reader.wanted.removeprefix("a ")
    return KINDS.get(reader) or _plain(HINTS[name.lower()])


def default(name: str) -> str:
    """What holds where nothing is set."""
    found = next(field.default for field in fields(Settings) if field.name == name.lower())
    if found is MISSING:
        return "required"
    if found is None or found == ():
        return "-"
    if isinstance(found, tuple):
        return f"`{','.join(map(str, found))}`"
    return f"`{found:g}`" if isinstance(found, float) else f"`{found}`"


def used_by(name: str) -> str:
    """The grants that a setting is for; empty where it is for all."""
    using = grants.users(name)
    if using == ASKING and name not in grants.TOKEN_URL:
        return "all that ask a token service"
    return ", ".join(f"**`{grant}`**" if name in grants.NEEDED[grant] else f"`{grant}`" for grant in using)


def _presets() -> Iterator[str]:
    yield "\n## Presets\n\n| preset | for | set besides | sets |\n| --- | --- | --- | --- |"
    for word, preset in presets.PRESETS.items():
        asked = ", ".join(f"`{name}`" for name in preset.asked)
        sets = ", ".join(f"`{name}={value}`" for name, value in preset.values.items())
        meaning = f"[{preset.meaning}]({preset.source})" if preset.source else preset.meaning
        yield f"| `{word}` | {meaning} | {asked} | {sets} |"


def _heading(lines: list[str], after: int, before: int) -> str | None:
    """The comment that stands between two statements."""
    for line in lines[after : before - 1]:
        found = HEADING.match(line)
        if found:
            return found[1]
    return None


def _docstring(statement: ast.stmt | None, name: str) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return " ".join(str(statement.value.value).split())
    raise ValueError(f"{name} has no docstring in mimic_proxy/settings/fields.py: say in one sentence what it means")


def _plain(hint: Any) -> str:
    """A reader that is not listed here: the type says what it can."""
    if get_origin(hint) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(hint))
    if get_origin(hint) is tuple:
        return "list, separated by commas"
    inner = [part for part in get_args(hint) if part is not type(None)]
    return PLAIN.get(hint) or (_plain(inner[0]) if inner else "text")
