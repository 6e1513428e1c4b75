"""`python -m observability [--check]`."""

import sys
from pathlib import Path

from observability import boards, reference, rules
from observability.places import DASHBOARDS, REFERENCE, RULES


def wanted() -> dict[Path, str]:
    """Every file by its path."""
    return {
        **{DASHBOARDS / name: text for name, text in boards.files().items()},
        **{RULES / name: text for name, text in rules.files().items()},
        REFERENCE: reference.page(),
    }


def stale(files: dict[Path, str]) -> list[Path]:
    """Those that are missing or differ, and those that nobody writes any more."""
    present = {*DASHBOARDS.glob("*.json"), *RULES.glob("*.yaml"), *([REFERENCE] if REFERENCE.exists() else [])}
    differing = {path for path, text in files.items() if path not in present or path.read_text("utf-8") != text}
    return sorted(differing | (present - files.keys()))


def main(arguments: list[str]) -> int:
    """Write what is stale, or with --check only name it; the exit code."""
    files = wanted()
    found = stale(files)
    for path in found:
        print(path)
        if "--check" in arguments:
            continue
        if path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], "utf-8")
        else:
            path.unlink()
    if "--check" in arguments and found:
        print("These are not up to date: `make dashboards` writes them.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
