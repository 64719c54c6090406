"""What a wheel holds beside the package's own files: the default checkpoint and the examples.

Both have their one place at the top of the repository. A wheel has no such top, so they are copied into the package
there; `lamdemo.core.places.shipped` finds them either way. All else about the package stands in ``pyproject.toml``.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

_named = re.search(r'^DEFAULT_CHECKPOINT = "(\w+)"', Path("lamdemo/__init__.py").read_text(encoding="utf-8"), re.M)
assert _named is not None
FOLDERS = (f"checkpoints/{_named[1]}", "examples")


class BuildWithFolders(build_py):
    """Setuptools' own build, and the folders that come along."""

    def run(self) -> None:
        """Copy them too, but for an installation that leads back to this folder."""
        super().run()
        if not self.editable_mode:
            for source, built in self._along().items():
                self.mkpath(str(Path(built).parent))
                self.copy_file(source, built, preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """All files that are written."""
        return [*super().get_outputs(include_bytecode), *self._along().values()]

    def get_source_files(self) -> list[str]:
        """All files that are read; a source archive holds them."""
        return [*super().get_source_files(), *self._along()]

    def _along(self) -> dict[str, str]:
        files = sorted(p for folder in FOLDERS for p in Path(folder).rglob("*") if p.is_file())
        seen = [p for p in files if not any(part.startswith(".") for part in p.parts)]
        return {str(p): str(Path(self.build_lib) / "lamdemo" / p) for p in seen}


setup(cmdclass={"build_py": BuildWithFolders})
