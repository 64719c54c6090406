"""What the Hugging Face Hub or the way to it refuses, in words for people."""

from __future__ import annotations

import os


def hub_error_in_words(error: Exception, repo: str, revision: str | None) -> str:
    """What went wrong with the Hub, and what to do, in a sentence.

    Args:
        error: of the Hub's client.
        repo: ``owner/name`` of what was to be fetched.
        revision: that was asked for; None for the main branch.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # The first that fits: a gated model's error is also one of a model that was not found.
    reasons: dict[type[Exception], str] = {
        HFValidationError: f"{repo[:80]} is neither a folder here nor a possible id on the Hub; check the spelling.",
        GatedRepoError: f"{repo} is gated on the Hub; ask for access there and log in with `hf auth login`.",
        RevisionNotFoundError: f"{repo} has no revision {revision or 'main'} on the Hub; give one that it has, as in "
        f"{repo}@v1.",
        RepositoryNotFoundError: f"{repo} is neither a folder here nor a model on the Hub that you may read; check the "
        "spelling.",
    }
    told = next((text for kind, text in reasons.items() if isinstance(error, kind)), None)
    if told is not None:
        return told
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return f"The Hub does not take your token for {repo}; log in again with `hf auth login`."
    if status == 403:
        return f"Your token may not do that with {repo}; log in with one that may (`hf auth login`)."
    if status == 429:
        return f"The Hub has had too many requests from here and will not send {repo} now; try again in some minutes."
    unreachable = isinstance(error, OfflineModeIsEnabled) or "Connect" in type(error).__name__
    if unreachable or (status or 0) >= 500:
        return (
            f"{repo} is not on this machine and the Hub cannot be reached{f' (it says {status})' if status else ''}; "
            "connect to the network, or use the bundled checkpoint."
        )
    # Errors of the Hub and of the way there carry no number, those of this machine's disk do.
    number = None if isinstance(error, HTTPError) else getattr(error, "errno", None)
    if number is not None:
        words = os.strerror(number)
        return f"{repo} cannot be kept on this machine: {words}; make room, or set HF_HOME to another folder."
    return f"{repo} could not be fetched from the Hub; try again later."
