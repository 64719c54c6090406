"""Episodes of LeRobot's datasets, versions 2 and 3, from a folder or from the Hugging Face Hub.

Row t of such a dataset holds what is seen at frame t and the action that is sent then, which takes it to frame
t + 1; the last row's action leads nowhere and is dropped. Version 2 has a table and a video for each episode; version 3
has many episodes in one file, and ``meta/episodes`` says from which second of it each one begins.

Tables are read with pyarrow, the optional extra ``lerobot``. From the Hub come only the files of what is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from lamdemo.core.actions import ActionSpec, Channel, Kind
from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes.collection import Entry, Episodes, Table, mismatch, plain_name, read_pictures

HUB_PREFIX = "hf:"
LEROBOT_INFO = "meta/info.json"
_HUB_ID = re.compile(r"([\w][\w.-]*/[\w][\w.-]*)(?:@([\w][\w./-]*))?")
# Where files lie, unless info.json tells otherwise.
_V2_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_V2_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
_V3_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_V3_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
# Tables of actions that are read for their range where the dataset does not tell it.
_TABLES_FOR_RANGE = 20

# The place of a file of the dataset on this machine, by its path in the dataset.
Fetch = Callable[[str], Path]


@dataclass(frozen=True)
class _Shot:
    """Where an episode's pictures of one camera lie."""

    video: str = ""  # path in the dataset; empty where the pictures lie in the table
    start: float = 0.0  # seconds into the video
    shared: bool = False  # other episodes may follow in it


@dataclass(frozen=True)
class _Found:
    """Where an episode lies."""

    index: int
    data: str
    shots: Mapping[str, _Shot]
    about: Mapping[str, Any] = field(default_factory=dict)


def open_lerobot(folder: str | Path, *, cameras: Sequence[str] | None = None, kind: Kind = "target") -> Episodes:
    """The episodes of a LeRobot dataset in a folder, by number; several cameras are several episodes.

    Args:
        folder: with ``meta/info.json``.
        cameras: only these, by their whole key or its last part: "observation.images.top" or "top".
        kind: what all the numbers of an action are. The files do not tell: "target" for places and joints to go to,
            as most are, "change" for steps of a hand, "rate" for speeds.

    Raises:
        LamdemoError: the dataset is damaged, has no actions or no such camera, or pyarrow is not installed.
    """
    folder = Path(folder)

    def fetch(path: str) -> Path:
        inside = PurePosixPath(path)
        if inside.is_absolute() or ".." in inside.parts:
            raise LamdemoError(f"{folder.name} names a file outside of the dataset in its {LEROBOT_INFO}; mend it.")
        found = folder / path
        if not found.is_file():
            raise LamdemoError(f"{folder.name} lacks the file {inside.name}; copy the whole dataset.")
        return found

    tables = sorted(p.relative_to(folder).as_posix() for p in (folder / "meta" / "episodes").glob("*/*.parquet"))
    return _open(folder.name, fetch, tables, cameras, kind)


def open_hub(name: str, *, cameras: Sequence[str] | None = None, kind: Kind = "target") -> Episodes:
    """The episodes of a LeRobot dataset on the Hugging Face Hub; what is not read is not downloaded.

    Args:
        name: ``owner/name`` or ``owner/name@revision``.
        cameras: as of `open_lerobot`.
        kind: as of `open_lerobot`.

    Raises:
        LamdemoError: as of `open_lerobot`, or the Hub has no such dataset or cannot be reached.
    """
    match = _HUB_ID.fullmatch(name)
    if match is None:
        raise LamdemoError(f"{name[:80]!r} is no dataset of the Hub; give {HUB_PREFIX}owner/name.")
    repo, revision = match[1], match[2]
    from huggingface_hub import hf_hub_download, snapshot_download

    folder = Path(
        _asked(lambda: snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns="meta/*"), repo)
    )
    if not (folder / LEROBOT_INFO).is_file():
        raise LamdemoError(f"{repo} is no LeRobot dataset, it has no {LEROBOT_INFO}; give one that is.")
    # The commit that the description is of, so that files fetched later belong to it.
    commit = folder.name

    def fetch(path: str) -> Path:
        return Path(_asked(lambda: hf_hub_download(repo, path, repo_type="dataset", revision=commit), repo))

    tables = sorted(p.relative_to(folder).as_posix() for p in (folder / "meta" / "episodes").glob("*/*.parquet"))
    return _open(repo.split("/")[1], fetch, tables, cameras, kind, about={"source": f"{repo}@{commit}"})


def _asked(download: Callable[[], str], repo: str) -> str:
    """Carry out a download; what goes wrong becomes one sentence."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return download()
    except GatedRepoError as error:
        raise LamdemoError(
            f"{repo} is gated on the Hub; ask for access there and log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise LamdemoError(
            f"{repo} has no such revision on the Hub; give one that it has, as in {repo}@main."
        ) from error
    except RepositoryNotFoundError as error:
        raise LamdemoError(f"{repo} is no dataset on the Hub that you may read; check the spelling.") from error
    except LocalEntryNotFoundError as error:
        raise LamdemoError(
            f"{repo} is not on this machine and the Hub cannot be reached; connect to the network."
        ) from error
    except EntryNotFoundError as error:
        raise LamdemoError(f"{repo} lacks a file that its {LEROBOT_INFO} names; choose another dataset.") from error
    except (HTTPError, OSError, ValueError) as error:
        raise LamdemoError(f"{repo} could not be fetched from the Hub; check the name and the network.") from error


def _open(
    name: str,
    fetch: Fetch,
    episode_tables: Sequence[str],
    cameras: Sequence[str] | None,
    kind: Kind,
    about: Mapping[str, Any] | None = None,
) -> Episodes:
    damaged = f"{LEROBOT_INFO} of {name} is damaged; fetch the dataset again."
    try:
        info = json.loads(fetch(LEROBOT_INFO).read_text(encoding="utf-8-sig"))
        fps, features = float(info["fps"]), dict(info["features"])
        version = int(re.match(r"v?(\d+)", str(info["codebase_version"]))[1])  # type: ignore[index]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LamdemoError(damaged) from error
    if version not in (2, 3):
        raise LamdemoError(f"{name} is a LeRobot dataset of version {version}; versions 2 and 3 are read, convert it.")
    if "action" not in features:
        raise LamdemoError(f"{name} has no actions; give a dataset with the column action.")
    keys = _chosen(name, [k for k, f in features.items() if f.get("dtype") in ("video", "image")], cameras)
    in_table = {k for k in keys if features[k]["dtype"] == "image"}
    try:
        if version == 2:
            found = _version_2(info, fetch, keys, in_table)
        else:
            found = _version_3(name, info, fetch, episode_tables, keys, in_table)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise LamdemoError(damaged) from error
    if not found:
        raise LamdemoError(f"{name} holds no episodes; give another dataset.")
    spec = _spec(name, features["action"], kind, _range(fetch, found))

    entries = []
    for episode in found:
        for key in keys:
            stem = f"episode_{episode.index:06d}"
            own = plain_name(stem if len(keys) == 1 else f"{stem}.{key.rsplit('.', 1)[-1]}")
            entries.append(
                Entry(
                    own,
                    plain_name(f"{name}-{stem}"),
                    own,
                    _table_reader(own, fetch, episode, fps, "observation.state" in features),
                    _picture_reader(own, fetch, episode, key),
                )
            )
    told = {"source": name, "robot": str(info.get("robot_type") or ""), **(about or {})}
    return Episodes(spec, entries, about={k: v for k, v in told.items() if v})


def _chosen(name: str, keys: list[str], cameras: Sequence[str] | None) -> list[str]:
    if not keys:
        raise LamdemoError(f"{name} has no pictures; give a dataset with a camera.")
    if cameras is None:
        return keys
    chosen = []
    for camera in cameras:
        fits = [k for k in keys if camera in (k, k.rsplit(".", 1)[-1])]
        if not fits:
            has = ", ".join(k.rsplit(".", 1)[-1] for k in keys)
            raise LamdemoError(f"{name} has no camera {camera[:40]!r}; it has {has}.")
        chosen += fits
    return list(dict.fromkeys(chosen))


def _version_2(info: Mapping[str, Any], fetch: Fetch, keys: Sequence[str], in_table: set[str]) -> list[_Found]:
    data, video = info.get("data_path") or _V2_DATA, info.get("video_path") or _V2_VIDEO
    chunk = int(info.get("chunks_size") or 1000)
    found = []
    lines = fetch("meta/episodes.jsonl").read_text(encoding="utf-8-sig").splitlines()
    for row in (json.loads(line) for line in lines if line.strip()):
        index = int(row["episode_index"])
        place = {"episode_chunk": index // chunk, "episode_index": index}
        shots = {k: _Shot() if k in in_table else _Shot(video.format(**place, video_key=k)) for k in keys}
        found.append(_Found(index, data.format(**place), shots, _told(row.get("tasks"))))
    return sorted(found, key=lambda e: e.index)


def _version_3(
    name: str, info: Mapping[str, Any], fetch: Fetch, tables: Sequence[str], keys: Sequence[str], in_table: set[str]
) -> list[_Found]:
    data, video = info.get("data_path") or _V3_DATA, info.get("video_path") or _V3_VIDEO
    if not tables:
        raise LamdemoError(f"{name} lacks the tables in meta/episodes; fetch the dataset again.")
    offsets = [f"videos/{k}/{c}" for k in keys if k not in in_table for c in ("chunk_index", "file_index")]
    offsets += [f"videos/{k}/from_timestamp" for k in keys if k not in in_table]
    found = []
    for path in tables:
        columns = ["episode_index", "data/chunk_index", "data/file_index", "tasks", *offsets]
        for row in _rows(fetch(path), columns, may_lack={"tasks"}):
            place = {"chunk_index": int(row["data/chunk_index"]), "file_index": int(row["data/file_index"])}
            shots = {}
            for k in keys:
                if k in in_table:
                    shots[k] = _Shot()
                    continue
                at = {c: int(row[f"videos/{k}/{c}"]) for c in ("chunk_index", "file_index")}
                start = float(row[f"videos/{k}/from_timestamp"])
                shots[k] = _Shot(video.format(**at, video_key=k), start, shared=True)
            found.append(_Found(int(row["episode_index"]), data.format(**place), shots, _told(row.get("tasks"))))
    return sorted(found, key=lambda e: e.index)


def _told(tasks: Any) -> dict[str, Any]:
    return {"task": "; ".join(map(str, tasks))} if isinstance(tasks, list) and tasks else {}


def _spec(name: str, feature: Mapping[str, Any], kind: Kind, span: tuple[np.ndarray, np.ndarray]) -> ActionSpec:
    names = _flat(feature.get("names"))
    low, high = span
    if len(names) != len(low) or len(set(names)) != len(names):
        names = [f"action_{i}" for i in range(len(low))]
    # A number that never changes has a range all the same.
    room = np.maximum((high - low) * 0.01, np.maximum(1e-3, 0.01 * np.abs(low)) * (high <= low))
    channels = [
        Channel(n, kind, float(a - r), float(b + r), words=("-", "+"))
        for n, a, b, r in zip(names, low, high, room, strict=True)
    ]
    return ActionSpec(plain_name(name), tuple(channels))


def _flat(names: Any) -> list[str]:
    """Names of numbers, which may be a list, a list in a list, or lists by group."""
    if isinstance(names, Mapping):
        names = list(names.values())
    if isinstance(names, list):
        return [n for part in names for n in _flat(part)]
    return [] if names is None else [str(names)]


def _range(fetch: Fetch, found: Sequence[_Found]) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest actions, float64 ``[A]`` each, over the tables of some episodes."""
    paths = list(dict.fromkeys(e.data for e in found))
    step = -(-len(paths) // _TABLES_FOR_RANGE)
    every = []
    for path in islice(paths, 0, None, step):
        every.append(_column(fetch(path), "action"))
    rows = np.concatenate(every).astype(np.float64)
    if not np.isfinite(rows).all():
        raise LamdemoError("The actions of this dataset hold some that are no numbers; mend it or choose another.")
    return rows.min(0), rows.max(0)


def _table_reader(name: str, fetch: Fetch, episode: _Found, fps: float, with_state: bool) -> Callable[[], Table]:
    def read() -> Table:
        path = fetch(episode.data)
        actions = _column(path, "action", episode.index)
        if not len(actions):
            raise LamdemoError(f"Episode {name} has no rows in {path.name}; fetch the dataset again.")
        truth = {"state": _column(path, "observation.state", episode.index)} if with_state else {}
        return Table(actions[:-1], fps, truth, episode.about)

    return read


def _picture_reader(name: str, fetch: Fetch, episode: _Found, key: str) -> Callable[..., np.ndarray]:
    shot = episode.shots[key]

    def read(table: Table, every: int, max_side: int | None) -> np.ndarray:
        count = len(table.actions) + 1
        if shot.video:
            # Where an episode begins in a shared video is a sum of rounded durations: aimed at the middle of each
            # frame's time, a little too early or too late is still the same frame.
            start = shot.start + 0.5 / table.fps if shot.shared else 0.0
            return read_pictures(fetch(shot.video), name, count, every, max_side, start=start, shared=shot.shared)
        pictures = [_picture(cell, name) for cell in _cells(fetch(episode.data), key, episode.index)]
        if len(pictures) != count:
            raise mismatch(name, len(pictures), count - 1)
        return np.stack([_smaller(p, max_side) for p in pictures[::every]])

    return read


def _picture(cell: Any, name: str) -> np.ndarray:
    data = cell.get("bytes") if isinstance(cell, dict) else None
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if found is None:
        raise LamdemoError(f"Episode {name} has pictures that lie outside of its table; embed them in it.")
    return cv2.cvtColor(found, cv2.COLOR_BGR2RGB)


def _smaller(picture: np.ndarray, max_side: int | None) -> np.ndarray:
    longest = max(picture.shape[:2])
    if max_side is None or longest <= max_side:
        return picture
    height, width = (max(1, round(n * max_side / longest)) for n in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _column(path: Path, column: str, episode: int | None = None) -> np.ndarray:
    """A column of numbers, float32 ``[rows, width]``, of one episode or of all."""
    try:
        table = np.array(_cells(path, column, episode), np.float32)
    except (ValueError, TypeError) as error:
        raise LamdemoError(f"The column {column} of {path.name} is no table of numbers; fetch it again.") from error
    return table.reshape(len(table), -1) if len(table) else table.reshape(0, 1)


def _cells(path: Path, column: str, episode: int | None) -> list[Any]:
    which = None if episode is None else [("episode_index", "==", episode)]
    return _table(path, [column], which)[column].to_pylist()


def _rows(path: Path, columns: Sequence[str], may_lack: set[str]) -> list[dict[str, Any]]:
    there = set(_parquet().read_schema(path).names)
    return _table(path, [c for c in columns if c in there or c not in may_lack]).to_pylist()


def _table(path: Path, columns: Sequence[str], which: Any = None) -> Any:
    parquet = _parquet()
    import pyarrow

    try:
        table = parquet.read_table(path, columns=list(columns), filters=which, partitioning=None)
    except (pyarrow.ArrowException, OSError) as error:
        raise LamdemoError(f"{path.name} cannot be read as a table of the dataset; fetch it again.") from error
    if lacks := [c for c in columns if c not in table.column_names]:
        raise LamdemoError(f"{path.name} has no column {lacks[0]}; fetch the dataset again.")
    return table


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise LamdemoError('LeRobot datasets need pyarrow; install it with: pip install "lamdemo[lerobot]".') from error
    return pyarrow.parquet
