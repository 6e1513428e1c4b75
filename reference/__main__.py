"""`python -m reference [--check]`."""

import sys
from pathlib import Path

from reference import settings

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ROOT / "docs" / "reference" / "settings.md"


def main(arguments: list[str]) -> int:
    """Write the page if it is stale, or with --check only name it; the exit code."""
    text = settings.page()
    if SETTINGS.exists() and SETTINGS.read_text("utf-8") == text:
        return 0
    print(SETTINGS.relative_to(ROOT))
    if "--check" in arguments:
        print("This is not up to date: `make reference` writes it.")
        return 1
    SETTINGS.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
