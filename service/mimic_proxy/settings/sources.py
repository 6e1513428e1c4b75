"""Where settings come from: the environment, then `.env`, then the YAML file that MIMIC_CONFIG names.

They are merged here, and not by pydantic-settings: a setting that is missing only under one grant and one that is
malformed have to stand in one message, by variable name and without the value, and a secret and its `_FILE` variant
have to count as one setting whichever source names them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""Read in lower case too, which then counts, as curl does it."""


class Problem(NamedTuple):
    """One thing that stops the start: the variable and what is wrong with it."""

    name: str
    message: str


CONFIG = "MIMIC_CONFIG"


@dataclass(frozen=True, slots=True)
class Names:
    """The variables that mean something: plain ones, and secrets, which have a `_FILE` variant each."""

    plain: frozenset[str]
    secrets: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        return self.plain | self.secrets | {f"{name}_FILE" for name in self.secrets}


@dataclass(frozen=True, slots=True)
class Gathered:
    """The merged values, still untyped, by variable name; what was wrong on the way."""

    values: dict[str, object] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def gather(
    names: Names,
    environ: Mapping[str, str],
    dotenv: Path | None,
    *,
    overrides: Mapping[str, str | None],
    defaults: Mapping[str, str],
) -> Gathered:
    """Reads all sources and keeps for each name the value of the strongest. An empty value counts as not set.

    overrides: count before all sources; None takes a variable away from all of them. defaults: count after them.
    """
    gathered = Gathered()
    env_file = _read_dotenv(dotenv, gathered) if dotenv is not None and dotenv.is_file() else {}
    sources: list[Mapping[str, object]] = [
        {name: value for name, value in overrides.items() if value is not None},
        _ours(names, environ),
        _ours(names, env_file),
    ]
    config = environ.get(CONFIG) or env_file.get(CONFIG)
    if config:
        sources.append(_read_yaml(names, Path(config), gathered))
    sources.append(defaults)
    for source in sources:
        _merge(names, source, gathered)
    for name, value in list(gathered.values.items()):
        if value == "" or overrides.get(name, "") is None:
            del gathered.values[name]
    return gathered


def config_file(environ: Mapping[str, str], dotenv: Path) -> Path | None:
    """The YAML file, where MIMIC_CONFIG names one."""
    found = environ.get(CONFIG)
    if not found and dotenv.exists():
        found = _read_dotenv(dotenv, Gathered()).get(CONFIG)
    return Path(found) if found else None


def _merge(names: Names, source: Mapping[str, object], gathered: Gathered) -> None:
    """Adds what no stronger source has set; a secret and its file are one setting."""
    for name in sorted(names.secrets):
        if name in source and f"{name}_FILE" in source:
            gathered.problems.append(Problem(name, f"is set, and {name}_FILE too: keep one of them"))
    taken = frozenset(gathered.values)
    for name, value in source.items():
        twin = name.removesuffix("_FILE") if name.endswith("_FILE") else f"{name}_FILE"
        if name not in taken and twin not in taken:
            gathered.values[name] = value


def _ours(names: Names, variables: Mapping[str, str]) -> dict[str, object]:
    picked: dict[str, object] = {name: variables[name] for name in names.all if variables.get(name, "").strip()}
    for name in PROXIES:
        if name.lower() in variables:
            picked[name] = variables[name.lower()]
    return picked


def _read_dotenv(file: Path, gathered: Gathered) -> dict[str, str]:
    """The variables of a `.env` file. `$` is an ordinary character there: secrets contain it."""
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for binding in parse_stream(stream):
                if binding.error:
                    message = f"line {binding.original.line} is not NAME=value"
                    gathered.problems.append(Problem(str(file), message))
                elif binding.key is not None and binding.value is not None:
                    found[binding.key] = binding.value
    except (OSError, UnicodeDecodeError) as failure:
        gathered.problems.append(Problem(str(file), f"cannot be read ({_reason(failure)})"))
    return found


def _read_yaml(names: Names, file: Path, gathered: Gathered) -> dict[str, object]:
    """The settings of the YAML file under their variable names; keys that nobody knows only warn."""
    import yaml

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as failure:
        gathered.problems.append(Problem("MIMIC_CONFIG", f"{file} cannot be read ({_reason(failure)})"))
        return {}
    except (yaml.YAMLError, RecursionError, ValueError) as failure:
        mark = getattr(failure, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        gathered.problems.append(Problem("MIMIC_CONFIG", f"{file} is not valid YAML{where}"))
        return {}
    if not isinstance(document, dict):
        if document is not None:
            gathered.problems.append(Problem("MIMIC_CONFIG", f"{file} must hold settings as `name: value`"))
        return {}
    known = {name.lower(): name for name in names.all}
    for key in document:
        if key not in known:
            near = get_close_matches(str(key).lower(), known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            gathered.warnings.append(f"{file}: {str(key)[:64]!r} is no setting of this version, ignored{hint}")
    return {known[key]: value for key, value in document.items() if key in known and value not in (None, "")}


def _reason(failure: OSError | UnicodeDecodeError) -> str:
    return failure.strerror or "I/O error" if isinstance(failure, OSError) else "not UTF-8"
