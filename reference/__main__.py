"""`python -m reference [--check]`."""

import sys
from pathlib import Path

from mimic_operator.cli.crd import definition_yaml
from mimic_operator.resource.crd import cluster_definition, definition
from reference import chart_values, injection, mimicbackend, names, settings, tools

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "mimic"
PAGES = ROOT / "docs" / "reference"
TOOLS = ROOT / "docs" / "tools"


def wanted() -> dict[Path, str]:
    """Every file by its path."""
    return {
        CHART / "files" / "crd.yaml": definition_yaml(definition()),
        CHART / "files" / "cluster-crd.yaml": definition_yaml(cluster_definition()),
        CHART / "README.md": chart_values.page((CHART / "values.yaml").read_text("utf-8")),
        PAGES / "injection.md": injection.page(),
        PAGES / "mimicbackend.md": mimicbackend.page(),
        PAGES / "clustermimicbackend.md": mimicbackend.cluster_page(),
        PAGES / "names.md": names.page(),
        PAGES / "settings.md": settings.page(),
        **{TOOLS / name: page for name, page in tools.pages().items()},
    }


def main(arguments: list[str]) -> int:
    """Write what is stale, or with --check only name it; the exit code."""
    files = wanted()
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        print(path.relative_to(ROOT))
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], "utf-8")
    if "--check" in arguments and stale:
        print("These are not up to date: `make reference` writes them.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
