"""Compiles the modules that move the bytes, if MIMIC_COMPILE=1 asks for it; needs a C compiler and Python.h.

A wheel that is built without it is pure Python, runs everywhere and does the same with about half the calls. In a
compiled wheel the sources stay beside the compiled modules, which Python prefers, so that tracebacks can be read.
"""

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILER = ("mypy>=2.4", "setuptools>=80", "types-pyyaml>=6.0.12")
"""mypyc comes with mypy. It has to see the types of all that the modules import, so it needs the dependencies too."""


class CompileHook(BuildHookInterface[Any]):
    """Knows which modules are compiled from `compile` of its table in pyproject.toml, paths from the root."""

    def dependencies(self) -> list[str]:
        return [*COMPILER, *self.metadata.core.dependencies] if _asked_for() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or not _asked_for():
            return
        root, folder = Path(self.root), Path(self.root, "build", "compiled")
        for built in _compile(root, folder, self.config["compile"]):
            build_data["force_include"][str(built)] = str(built.relative_to(folder))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def _asked_for() -> bool:
    return os.environ.get("MIMIC_COMPILE") == "1"


def _compile(root: Path, folder: Path, modules: list[str]) -> list[Path]:
    """Compile into `folder`, laid out as it will be installed; the files that were made."""
    from mypyc.build import mypycify
    from setuptools import Distribution

    # Relative paths: they stand in tracebacks, and the builder's folders are nobody's business.
    os.chdir(root)
    options = ["--config-file", "pyproject.toml"]
    target = str(folder.with_name("c"))
    extensions = mypycify([*options, *modules], debug_level="0", group_name="mimic_proxy", target_dir=target)
    command = Distribution({"name": "mimic", "packages": [], "ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(folder), str(folder.with_name("temp"))
    command.ensure_finalized()
    command.run()
    return [folder / command.get_ext_filename(extension.name) for extension in extensions]
