"""One way to open episodes, whatever they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lamdemo.core.actions import Kind
from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes.collection import Episodes
from lamdemo.data.episodes.files import CONFIG_NAME, is_folder_of_episodes, open_folder
from lamdemo.data.episodes.lerobot import HUB_PREFIX, LEROBOT_INFO, open_hub, open_lerobot
from lamdemo.data.episodes.shared import PARTS, open_shared
from lamdemo.data.known_actions import INDEX


def open_episodes(
    source: str | Path,
    *,
    part: str | None = None,
    cameras: Sequence[str] | None = None,
    kind: Kind = "target",
) -> Episodes:
    """Find episodes; each is read when it is asked for.

    Args:
        source: a folder of our own files, one of a LeRobot dataset (v2 or v3), one with an ``INDEX.tsv`` of known
            actions, or ``hf:owner/name[@revision]`` for a LeRobot dataset on the Hub.
        part: of a folder with an index: "car", "arm" or "humanoid"; elsewhere it must be left out.
        cameras: of several cameras only these; all of them without it, each as an episode of its own.
        kind: what the actions of a LeRobot dataset are, which its files do not tell: mostly targets.

    Raises:
        LamdemoError: it is none of these, or cannot be read.
    """
    # The address of a dataset's page is as good as its name.
    text = re.sub(r"^(https?://)?(www\.)?(huggingface\.co|hf\.co)/datasets/([^/?#]+/[^/?#]+).*$", r"hf:\4", str(source))
    if text.startswith(HUB_PREFIX):
        _no_part(part)
        return open_hub(text.removeprefix(HUB_PREFIX), cameras=cameras, kind=kind)
    folder = Path(source)
    name = folder.name or "the folder"
    if not folder.is_dir():
        raise LamdemoError(
            f"There is no folder {name[:80]}; give one with episodes, or {HUB_PREFIX}owner/name for one of the Hub."
        )
    if is_folder_of_episodes(folder):
        _no_part(part)
        if cameras is not None:
            raise LamdemoError(f"The episodes in {name} are of one camera each; leave the cameras out.")
        return open_folder(folder)
    if (folder / LEROBOT_INFO).is_file():
        _no_part(part)
        return open_lerobot(folder, cameras=cameras, kind=kind)
    if (folder / INDEX).is_file():
        if part is None:
            raise LamdemoError(f"{name} has several parts; say which of {', '.join(PARTS)}.")
        return open_shared(folder, part, cameras=cameras)
    raise LamdemoError(
        f"{name} holds no episodes: there is no {CONFIG_NAME}, no {LEROBOT_INFO} (LeRobot) and no {INDEX} in it."
    )


def _no_part(part: str | None) -> None:
    if part is not None:
        raise LamdemoError(f"These episodes have no parts such as {part[:40]!r}; leave the part out.")
