"""``lamdemo space``: a folder that is a Hugging Face Space with a checkpoint of one's own."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.cli.common import appearing_whole, checked_place, some_path, some_text
from lamdemo.core.config import toml_in
from lamdemo.core.errors import LamdemoError
from lamdemo.core.places import shipped

_PACKAGE = Path(__file__).resolve().parents[1]
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyi", ".*", "checkpoints", "examples")
_MARK = "Written by `lamdemo space`"  # what is written over only where it was written before

_APP = '''"""The page of {name}: ``python app.py``, then open the address it prints."""

import sys

from lamdemo.cli import main

if __name__ == "__main__":
    main(["app", "--checkpoint", {checkpoint!r}, *sys.argv[1:]])
'''

_TEXT = """# {title}

The action in a clip, carried over to another picture by the latent action world model {told}.

Written by `lamdemo space`: `lamdemo/` is the package that it runs, and
`pip install -r requirements.txt && python app.py` opens it anywhere. The method is that of *Learning Latent Action
World Models In The Wild* (arXiv 2601.05230).
"""


class Hardware(str, Enum):
    """What the Space asks for, as the Hub calls it."""

    CPU = "cpu-basic"
    LARGE_CPU = "cpu-upgrade"
    ZERO = "zero-a10g"
    T4 = "t4-small"
    A10G = "a10g-small"


def space(
    folder: Annotated[Path, typer.Argument(parser=some_path, metavar="DIR", help="Folder to write.")],
    checkpoint: Annotated[
        str,
        typer.Option(
            parser=some_text,
            metavar="ID",
            help="owner/name\\\\[@revision] on the Hub, fetched by the Space; a folder or a bundled name is copied.",
        ),
    ] = DEFAULT_CHECKPOINT,
    title: Annotated[str, typer.Option(parser=some_text, metavar="TEXT", help="Of the Space.")] = "lamdemo",
    hardware: Annotated[Hardware, typer.Option(help="What to suggest to whoever duplicates it.")] = Hardware.CPU,
) -> None:
    """Write a ready Space: [bold]app.py[/], [bold]requirements.txt[/], [bold]README.md[/] and this lamdemo.

    Try it with `python app.py` there, and upload it with `hf upload owner/space DIR . --repo-type space`.

    [bold]Examples[/]

    [cyan]lamdemo space my-space --checkpoint me/my-model[/]

    [cyan]lamdemo space my-space --checkpoint runs/mine/checkpoint --hardware zero-a10g[/]
    """
    from lamdemo.engine.pretrained import bundled_checkpoints, hub_id
    from lamdemo.engine.sharing import save

    checked_place(folder, folder=True)
    _check_own(folder)
    name, bundled = hub_id(checkpoint), bundled_checkpoints()
    local = bundled.get(name) or (Path(name) if Path(name).is_dir() else None)
    if local is None and name.count("/") != 1:
        raise LamdemoError(f"There is no checkpoint {name[:80]!r} here; give a folder, a bundled name or owner/name.")
    with appearing_whole(folder) as made:
        shutil.copytree(_PACKAGE, made / "lamdemo", ignore=_LEFT_OUT)
        _copy_examples(made / "examples", prepared=local is not None and name == DEFAULT_CHECKPOINT)
        for notice in _notices():
            shutil.copyfile(notice, made / notice.name)
        if local is not None:
            save(local, made / "checkpoints" / local.name)
        meant = name if local is None else local.name
        (made / "app.py").write_text(_APP.format(name=meant, checkpoint=meant), encoding="utf-8")
        wanted = [*_requirements(), *(("spaces",) if hardware is Hardware.ZERO else ())]
        (made / "requirements.txt").write_text("\n".join(wanted) + "\n", encoding="utf-8")
        told = f"[{name}](https://huggingface.co/{name.split('@')[0]})" if local is None else f"*{meant}* beside it"
        head = _front_matter(title, hardware, name if local is None else None)
        (made / "README.md").write_text(head + _TEXT.format(title=title, told=told), encoding="utf-8")
    typer.echo(f"{folder}: python app.py opens it, hf upload owner/space {folder} . --repo-type space publishes it")


def _check_own(folder: Path) -> None:
    """See that nothing of anybody else's would be replaced.

    Raises:
        LamdemoError: the folder holds what was not written here.
    """
    try:
        held = {p.name for p in folder.iterdir() if not p.name.startswith(".")}
        # A new Space's clone has a README of the Hub's, and nothing else.
        if held <= {"README.md"} or _MARK in (folder / "README.md").read_text(encoding="utf-8"):
            return
    except FileNotFoundError:
        if not folder.exists():
            return
    except UnicodeDecodeError:
        pass
    raise LamdemoError(f"{folder.resolve().name} holds other files; give an empty folder, or one written before.")


def _notices() -> Iterator[Path]:
    """Files that tell whose what is: at the top of a clone, and in the metadata of an installed package."""
    names = ("LICENSE", "THIRD_PARTY_NOTICES.md")
    if (_PACKAGE.parent / names[1]).is_file():
        yield from (_PACKAGE.parent / name for name in names)
        return
    for file in importlib.metadata.files("lamdemo") or ():
        if file.parts[-2:-1] == ("licenses",) and file.name in names:
            yield Path(str(file.locate()))


def _copy_examples(folder: Path, *, prepared: bool) -> None:
    """The examples, where there are any; with the results of the default checkpoint only for that one."""
    if shipped("examples").is_dir():
        left = shutil.ignore_patterns(".*", *(() if prepared else ("prepared",)))
        shutil.copytree(shipped("examples"), folder, ignore=left)


def _requirements() -> list[str]:
    """What the package needs, of its project file in a clone and of its metadata elsewhere."""
    project = _PACKAGE.parent / "pyproject.toml"
    if project.is_file():
        lines: Iterable[str] = toml_in(project)["project"]["dependencies"]
    else:
        lines = importlib.metadata.requires("lamdemo") or ()
    # The gradio is the front matter's, for a Space and for whoever opens it elsewhere.
    kept = [line for line in lines if "extra ==" not in line and not line.startswith("gradio")]
    return [*kept, f"gradio=={importlib.metadata.version('gradio')}"]


def _front_matter(title: str, hardware: Hardware, model: str | None) -> str:
    """What the Hub reads at the head of a Space's README."""
    from lamdemo.engine.sharing import TAGS

    lines = [
        f"title: {json.dumps(title, ensure_ascii=False)}",
        "emoji: 🎞️",
        "colorFrom: indigo",
        "colorTo: green",
        "sdk: gradio",
        f"sdk_version: {importlib.metadata.version('gradio')}",
        f'python_version: "{sys.version_info.major}.{sys.version_info.minor}"',
        "app_file: app.py",
        "pinned: false",
        "license: apache-2.0",
        "short_description: Carry the action in a clip over to another picture",
        f"suggested_hardware: {hardware.value}",
        f"tags: [{', '.join(TAGS)}]",
    ]
    if model is not None:
        repo, _, revision = model.partition("@")
        lines.append(f"models: [{repo}]")
        if not revision:  # its files are fetched when the Space is built, and not when it starts
            lines.append(f"preload_from_hub: [{repo}]")
    return "---\n" + "\n".join(lines) + "\n---\n\n"
