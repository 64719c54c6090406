"""Whether anything that the image installs is known to be harmful, as far as advisories can be asked for from here.

    python container/audit.py

Asks with pip-audit. That takes a package of which it learns nothing for one without advisories, and so would be content
on a machine that reaches an index of packages and none of advisories: here it is said to be skipped. Exit status: 1 for
an advisory, else 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().with_name("requirements.lock")


def judged(told: dict[str, Any]) -> tuple[bool, list[str]]:
    """Whether pip-audit's answer is one to be content with, and what to say of it."""
    packages = told.get("dependencies", [])
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        return True, ["The audit was skipped: no advisories can be asked for from here."]
    bad = [(package, advisory) for package in asked for advisory in package["vulns"]]
    said = [
        f"{package['name']} {package['version']}: {advisory['id']}, mended in {', '.join(advisory['fix_versions'])}."
        for package, advisory in bad
    ]
    left = sorted(package["name"] for package in packages if "skip_reason" in package)
    said += [f"Nothing can be learned of {', '.join(left)}."] if left else []
    return not bad, [*said, f"{len(asked)} packages were audited, with {len(bad)} advisories."]


def main() -> None:
    """See the module."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(LOCK), "--no-deps", "--disable-pip", "--format", "json"]
    done = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True)
    try:
        told = json.loads(done.stdout)
    except ValueError:  # not installed, or without any network
        told = {}
    content, said = judged(told)
    print(*said, sep="\n")
    sys.exit(not content)


if __name__ == "__main__":
    main()
