"""The Hugging Face Hub: checkpoints fetched from it, within bounds, and pushed to it, with its own client."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamdemo import __version__
from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import file_hash, write_safely
from lamdemo.core.hub_errors import hub_error_in_words
from lamdemo.engine.out_of_distribution import LATENTS_NAME
from lamdemo.engine.verdict import VERDICT_NAME
from lamdemo.models.checkpoint import CONFIG_NAME, FORMAT, WEIGHTS_NAME

CARD_NAME = "README.md"
# What a checkpoint is made of, as patterns: config, weights and card, a sample of latents, a rule for verdicts, an
# atlas and those of other models, a learned prior, controllers of known actions, the small world model that plans are
# searched with, the world model that was trained on labels.
FILES = (
    CONFIG_NAME,
    WEIGHTS_NAME,
    CARD_NAME,
    LATENTS_NAME,
    VERDICT_NAME,
    "atlas.safetensors",
    "atlas-*.safetensors",
    "prior.json",
    "prior.safetensors",
    "futures-*.json",
    "futures-*.safetensors",
    "controllers/*.json",
    "controllers/*.safetensors",
    "draft.json",
    "draft.safetensors",
    "twin.json",
    "twin.safetensors",
    "twin-draft.json",
    "twin-draft.safetensors",
)
MOST_BYTES = 4 << 30
"""What a checkpoint's files may have together, unless ``LAMDEMO_MOST_GB`` says otherwise. Ours have 0.06 GB."""
_MOST_TEXT = 4 << 20  # bytes of a configuration or a card, which are read whole

Tell = Callable[[int, int], None]
"""Told of bytes that are there and bytes that are wanted."""


@dataclass(frozen=True)
class Layout:
    """Which files of a repository are fetched together."""

    what: str  # they make, in a sentence
    files: tuple[str, ...]  # patterns of their paths
    needed: tuple[str, ...]  # paths without which they make nothing


OURS = Layout("lamdemo checkpoint", FILES, (CONFIG_NAME, WEIGHTS_NAME))


def is_wanted(name: str, layout: Layout = OURS) -> bool:
    """Whether a file of this path in a repository is part of a checkpoint."""
    return any(fnmatch.fnmatchcase(name, p) and name.count("/") == p.count("/") for p in layout.files)


def most_bytes() -> int:
    """What a checkpoint's files may have together.

    Raises:
        LamdemoError: ``LAMDEMO_MOST_GB`` is no number.
    """
    text = os.environ.get("LAMDEMO_MOST_GB", "")
    try:
        return int(float(text) * (1 << 30)) if text else MOST_BYTES
    except (ValueError, OverflowError) as error:
        raise LamdemoError(f"LAMDEMO_MOST_GB is {text[:20]!r}; give a number of gigabytes.") from error


def download(
    repo: str,
    revision: str | None,
    *,
    cache_dir: str | Path | None = None,
    tell: Tell | None = None,
    layout: Layout = OURS,
) -> Path:
    """The folder of a checkpoint of the Hub, fetched if it is not on this machine.

    What the Hub says of sizes is checked before anything is fetched, and the configuration's format before the
    weights are. Without the Hub, what was fetched before is taken.

    Args:
        repo: ``owner/name``.
        revision: a branch, a tag or a commit; the main branch without it.
        cache_dir: where downloads are kept; the client's own place by default.
        tell: progress, from several threads.
        layout: what is fetched, if it is not a checkpoint of ours.

    Raises:
        LamdemoError: it is not there, too large, of another format or damaged, or cannot be fetched.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, RevisionNotFoundError

    try:
        info = HfApi(library_name="lamdemo", library_version=__version__).model_info(
            repo, revision=revision, files_metadata=True
        )
        sizes = _checked_sizes(repo, info.siblings or (), layout)
        commit = info.sha or ""
    except (HTTPError, OSError, ValueError) as error:
        # A ValueError is an answer that is no JSON, as of a login page.
        if not isinstance(error, HFValidationError | RevisionNotFoundError):
            with contextlib.suppress(HTTPError, OSError, ValueError):
                kept = snapshot_download(
                    repo,
                    revision=revision,
                    cache_dir=cache_dir,
                    allow_patterns=list(layout.files),
                    local_files_only=True,
                )
                return _whole(repo, Path(kept), layout)
        raise LamdemoError(hub_error_in_words(error, repo, revision)) from error
    try:
        if layout is OURS:
            check_format(Path(hf_hub_download(repo, CONFIG_NAME, revision=commit, cache_dir=cache_dir)), repo)
        bar = None if tell is None else _telling(tell, sum(sizes.values()))
        folder = Path(
            snapshot_download(repo, revision=commit, cache_dir=cache_dir, allow_patterns=list(sizes), tqdm_class=bar)
        )
    except (HTTPError, OSError, ValueError) as error:
        raise LamdemoError(hub_error_in_words(error, repo, revision)) from error
    _remember(folder, revision or "main", commit)
    return _whole(repo, folder, layout, {s.rfilename: s.lfs.sha256 for s in info.siblings or () if s.lfs is not None})


def check_format(config: Path, name: str) -> None:
    """See that a checkpoint is of a format that this version reads.

    Args:
        config: its ``config.json``.
        name: of the checkpoint, for the sentence.

    Raises:
        LamdemoError: it is of a newer format; the sentence names the version that is needed.
    """
    try:
        data = json.loads(config.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return  # whoever reads the rest of it tells what is wrong
    told = data.get("format") if isinstance(data, dict) else None
    ours, _, number = FORMAT.partition("/")
    if not isinstance(told, str) or told == FORMAT or not told.startswith(f"{ours}/"):
        return
    theirs, needs = told.partition("/")[2], data.get("needs")
    known = theirs.isdecimal() and int(theirs) > int(number)
    version = f"lamdemo {needs[:20]} or newer" if known and isinstance(needs, str) else "a newer lamdemo"
    raise LamdemoError(
        f"{name[:80]} is of the format {told[:30]} and this lamdemo {__version__} reads {FORMAT}; it needs {version} "
        "(pip install -U lamdemo)."
    )


def _checked_sizes(repo: str, files: Iterable[Any], layout: Layout) -> dict[str, int]:
    """Names and sizes of the files that are wanted.

    Raises:
        LamdemoError: one is missing or too large.
    """
    sizes = {f.rfilename: f.size for f in files if is_wanted(f.rfilename, layout)}
    for name in layout.needed:
        if name not in sizes:
            raise LamdemoError(f"{repo} is no {layout.what}, it lacks {name}; give another Hub id.")
    unknown = next((name for name, size in sizes.items() if not isinstance(size, int) or size < 0), None)
    if unknown is not None:
        raise LamdemoError(f"The Hub does not say how large {unknown} of {repo} is; try again later.")
    long = next((n for n, size in sizes.items() if n.endswith((".json", ".md")) and size > _MOST_TEXT), None)
    if long is not None:
        raise LamdemoError(
            f"{long} of {repo} has {sizes[long] / 1e6:,.0f} MB, too much for what it is; give another id."
        )
    total, most = sum(sizes.values()), most_bytes()
    if total > most:
        raise LamdemoError(
            f"{repo} has {total / (1 << 30):,.1f} GB and at most {most / (1 << 30):g} are fetched; set LAMDEMO_MOST_GB "
            "to fetch more."
        )
    return sizes


def _telling(tell: Tell, total: int) -> type[Any]:
    """A progress bar for the client that tells too; as quiet on the terminal as the client's own is."""
    from huggingface_hub.utils import tqdm

    class Telling(tqdm):
        done = 0

        def update(self, n: float | None = 1) -> bool | None:
            if getattr(self, "unit", "B") == "B":  # others count files
                self.done += int(n or 0)
                tell(min(self.done, total), total)
            return super().update(n)

    return Telling


def _remember(folder: Path, revision: str, commit: str) -> None:
    """Note in the client's cache which commit a name stood for, so that it is found without the Hub.

    The client does so itself only where it asks for the name again, by when it may stand for something else.
    """
    if revision == commit or ".." in revision.split("/"):
        return
    place = folder.parents[1] / "refs" / revision
    with contextlib.suppress(OSError):  # it can be fetched again
        place.parent.mkdir(parents=True, exist_ok=True)
        write_safely(place, commit.encode())


def _whole(repo: str, folder: Path, layout: Layout, hashes: dict[str, str] | None = None) -> Path:
    """The folder, if all that a checkpoint needs is in it, and what it should be.

    Raises:
        LamdemoError: it is not.
    """
    missing = [name for name in layout.needed if not (folder / name).is_file()]
    if missing:
        raise LamdemoError(f"{repo} is no {layout.what}, it lacks {missing[0]}; give another Hub id.")
    for name, wanted in (hashes or {}).items():
        if is_wanted(name, layout) and wanted and file_hash(folder / name) != wanted:
            raise LamdemoError(
                f"{name} of {repo} is not what the Hub says it is; fetch it again "
                f"(`hf download --force-download {repo}`)."
            )
    if layout is OURS:
        check_format(folder / CONFIG_NAME, repo)
    return folder


def push(
    folder: Path,
    repo: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    message: str | None = None,
    token: str | None = None,
    create_pr: bool = False,
) -> str:
    """Make a model on the Hub of a checkpoint's folder, or put it in the place of what is there.

    Args:
        folder: see `lamdemo.engine.sharing.save`.
        repo: ``owner/name``; it is made if need be.
        private: whether only its owner sees it, where it is made.
        revision: a branch, made if need be; the main one without it.
        message: of the commit.
        token: of who pushes; that of `hf auth login` without it.
        create_pr: propose it instead of putting it there.

    Returns:
        The address of the commit, or of what is proposed.

    Raises:
        LamdemoError: the Hub does not take it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    api = HfApi(token=token, library_name="lamdemo", library_version=__version__)
    try:
        made = api.create_repo(repo, private=private, exist_ok=True)
        if revision is not None and not create_pr:
            api.create_branch(made.repo_id, branch=revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            allow_patterns=list(FILES),
            revision=revision,
            commit_message=message or f"Checkpoint made with lamdemo {__version__}",
            create_pr=create_pr,
        )
    except (HTTPError, OSError, ValueError) as error:
        raise LamdemoError(_push_in_words(error, repo)) from error
    return done.pr_url or done.commit_url


def _push_in_words(error: Exception, repo: str) -> str:
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, LocalTokenNotFoundError) or status == 401:
        return f"The Hub must know who pushes {repo[:80]}; log in with `hf auth login`, with a token that may write."
    if isinstance(error, HFValidationError) or status == 400:
        return f"{repo[:80]} is no possible id on the Hub, or not this folder's; give owner/name."
    if status in (403, 404):
        return f"Your token may not write to {repo}; log in with one that may (`hf auth login`), or give another id."
    if status == 429:
        return f"The Hub has had too many requests from here; push {repo} again in some minutes."
    return f"{repo} could not be pushed{f', the Hub says {status}' if status else ''}; try again later."
