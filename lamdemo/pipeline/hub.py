"""Where checkpoints come from: a folder, the bundled ones, or the Hugging Face Hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lamdemo.errors import LamdemoError
from lamdemo.models.checkpoint import CONFIG_NAME, WEIGHTS_NAME

DEFAULT_CHECKPOINT = "noisy"
_HUB_ID = re.compile(r"^([\w][\w.-]*/[\w][\w.-]*)(?:@([\w][\w./-]*))?$")


def bundled_folder() -> Path:
    """The folder of bundled checkpoints: ``checkpoints/`` beside the package, or ``LAMDEMO_CHECKPOINTS``."""
    override = os.environ.get("LAMDEMO_CHECKPOINTS")
    return Path(override) if override else Path(__file__).resolve().parents[2] / "checkpoints"


def bundled_checkpoints() -> dict[str, Path]:
    """Name and folder of every bundled checkpoint, the default first."""
    folder = bundled_folder()
    found = {p.parent.name: p.parent for p in sorted(folder.glob(f"*/{CONFIG_NAME}"))}
    return dict(sorted(found.items(), key=lambda item: (item[0] != DEFAULT_CHECKPOINT, item[0])))


def resolve_checkpoint(path_or_id: str | Path | None = None, *, cache_dir: str | Path | None = None) -> Path:
    """The folder of a checkpoint, downloaded if need be.

    Args:
        path_or_id: a folder, a bundled name, or ``owner/name[@revision]``; the bundled default without it.
        cache_dir: where downloads are kept.

    Raises:
        LamdemoError: there is no such checkpoint, or it cannot be fetched and was not fetched before.
    """
    bundled = bundled_checkpoints()
    if path_or_id is None or str(path_or_id).strip() == "":
        if DEFAULT_CHECKPOINT not in bundled:
            raise LamdemoError("No bundled checkpoint was found; give --checkpoint a folder or a Hub id.")
        return bundled[DEFAULT_CHECKPOINT]
    if Path(path_or_id).is_dir():
        return Path(path_or_id)
    text = str(path_or_id)
    if text in bundled:
        return bundled[text]
    match = _HUB_ID.match(text)
    if match is None:
        known = ", ".join(bundled) or "none"
        raise LamdemoError(
            f"There is no checkpoint {Path(text).name!r}; give a folder, a bundled name ({known}) or a Hub "
            "id such as owner/name."
        )
    return _download(match[1], match[2], cache_dir)


def _download(repo: str, revision: str | None, cache_dir: str | Path | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    wanted = [CONFIG_NAME, WEIGHTS_NAME, "README.md"]
    try:
        return Path(snapshot_download(repo, revision=revision, cache_dir=cache_dir, allow_patterns=wanted))
    except GatedRepoError as error:
        raise LamdemoError(
            f"{repo} is gated on the Hub; ask for access there and log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise LamdemoError(
            f"{repo} has no revision {revision!r} on the Hub; leave it out or give another."
        ) from error
    except RepositoryNotFoundError as error:
        raise LamdemoError(
            f"There is no model {repo} on the Hub that you may read; check the spelling."
        ) from error
    except LocalEntryNotFoundError as error:
        raise LamdemoError(
            f"{repo} is not on this machine and the Hub cannot be reached; connect to the network, or use "
            "the bundled checkpoint."
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise LamdemoError(f"{repo} could not be fetched from the Hub; try again later.") from error
