"""Make the virtual environment in which the others' harness runs, about 6 GB, outside of the repository.

    python -m benchmarks.peers_tasks.environment ELSEWHERE/venv

It is a place of its own because the package needs torchvision, and with it another torch than ours. This checkout is
put on its path, so that ``lamdemo`` and ``benchmarks`` can be imported there.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = (
    "torch==2.14.1",
    "torchvision==0.29.1",
    "stable-worldmodel==0.1.1",
    "imageio[ffmpeg]==2.38.1",
    "pygame",
    "pymunk",
    "shapely",
    "h5py==3.16.0",
    # What lamdemo.engine and lamdemo.planning need beside torch.
    "safetensors==0.8.0",
    "opencv-python-headless==5.0.0.93",
    # What the reports need beside them.
    "scikit-image==0.26.0",
    "scikit-learn==1.9.1",
)
"""What is installed; where a version is not named, the package's own bounds choose it."""

ROOT = Path(__file__).resolve().parents[2]


def make(folder: Path) -> Path:
    """Make the environment, or complete one that is there.

    Args:
        folder: where to; not within this checkout.

    Returns:
        Its Python.

    Raises:
        SystemExit: the folder is within the checkout, or a package cannot be installed.
    """
    if folder.resolve().is_relative_to(ROOT):
        raise SystemExit("Choose a folder outside of this checkout: the environment has thousands of files.")
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if subprocess.run([python, "-m", "pip", "install", *PACKAGES], check=False).returncode:
        raise SystemExit("The packages could not be installed; see what pip says above.")
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    packages = Path(subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip())
    (packages / "lamdemo-checkout.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    return python


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(make(Path(sys.argv[1])))
