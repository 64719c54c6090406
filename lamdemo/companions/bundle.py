"""All that a checkpoint brings, as steps in the order of need.

Beside its weights lie a sample of latents, an atlas, a prior, and where it is the default one, or a user's own,
controllers, a distilled world model, the action-conditioned baseline and what is distilled from that one. Reports
judge it. Of a bundled checkpoint there is also what is shown of it (`lamdemo.companions.shown`): cards, results,
gallery, examples, pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from lamdemo.companions.embodiments import Embodiment
from lamdemo.companions.making import (
    make_action_conditioned,
    make_controller,
    make_distilled,
    make_priors,
    open_source,
    token_patch,
)
from lamdemo.companions.records import fingerprint_of, foreign, read_json
from lamdemo.companions.shown import report_steps, shown_steps
from lamdemo.companions.steps import Companions, Step
from lamdemo.companions.target import ABLATIONS, ROOT, Target, without_folder, without_videos
from lamdemo.core.files import write_safely
from lamdemo.data.splits import Split
from lamdemo.engine.out_of_distribution import LATENTS_NAME
from lamdemo.engine.verdict import VERDICT_NAME
from lamdemo.models.controller import ControllerConfig
from lamdemo.training.action_conditioned import BaselineTrainingConfig
from lamdemo.training.controller import ControllerTrainingConfig
from lamdemo.training.distillation import DistillationConfig
from lamdemo.training.latents import sample_latents

ATLAS_NAME = "atlas.safetensors"


def companions_of(target: Target) -> Companions:
    """The companions of a checkpoint.

    Raises:
        LamdemoError: the folder holds no checkpoint, or episodes cannot be opened.
    """
    steps = _own(target)
    if target.whole:
        steps += _acting(target)
    steps += report_steps(target, steps)
    if target.bundled:
        steps += shown_steps(target, steps)
    return Companions(steps, target.folder, target.checkpoint)


def _step(
    target: Target,
    name: str,
    files: tuple[Path, ...],
    make: Callable[[float | None], bool],
    lacks: Callable[[], str],
    needs: tuple[str, ...] = (),
) -> Step:
    """A companion whose first file says which weights it belongs to."""
    return Step(name, files, make, lambda: foreign(files[0], target.checkpoint), needs, lacks)


def _pair(folder: Path, name: str) -> tuple[Path, Path]:
    """The JSON and the weights of a companion."""
    return folder / f"{name}.json", folder / f"{name}.safetensors"


def _own(target: Target) -> list[Step]:
    """What every checkpoint brings."""
    folder, sources, amounts = target.folder, target.sources, target.amounts
    atlas = folder / ATLAS_NAME
    # A bundled atlas is passed on with its pictures, so that of other clips it has the actions alone.
    clips, drawn = (ROOT / "examples/clips", sources.videos) if target.bundled else (sources.videos, None)

    def make_latents(minutes: float | None) -> bool:
        assert sources.videos is not None
        split = Split.read(sources.split) if sources.split is not None else None
        cache = target.out / "cache"
        sample_latents(folder, sources.videos, cache, split=split, batches=amounts.batches, device=target.device)
        return True

    def make_atlas(minutes: float | None) -> bool:
        from lamdemo.latent_space.building import build_atlas  # needs the extra libraries of atlases

        made = target.place("atlas") / ATLAS_NAME
        made.parent.mkdir(parents=True, exist_ok=True)
        build_atlas(target.pipeline(), videos=clips, drawn=drawn, out=made, say=target.say)
        write_safely(atlas, made.read_bytes())
        return True

    def make_prior(minutes: float | None) -> bool:
        works = {target.name: target.work("prior", minutes)}
        assert sources.videos is not None
        return make_priors(works, sources.videos, sources.split, clips=amounts.clips, steps=amounts.prior)

    def make_verdict(minutes: float | None) -> bool:
        from lamdemo.evaluation.calibration import write_verdict

        assert sources.calibration is not None
        report = target.place("verdict") / "report.json"
        write_verdict(target.pipeline(), sources.calibration, report, command=target.command)
        return True

    def no_atlas() -> str:
        if clips is None:
            return without_videos(target)
        return "" if find_spec("umap") and find_spec("sklearn") else "it needs `pip install lamdemo[atlas]`"

    def no_cases() -> str:
        return without_folder(sources.calibration, "--calibration, cases of `lamdemo scenes` beside those of --pairs")

    def no_videos() -> str:
        return without_videos(target)

    return [
        _step(target, "latents", (folder / LATENTS_NAME,), make_latents, no_videos),
        _step(target, "atlas", (atlas,), make_atlas, no_atlas),
        _step(target, "verdict", (folder / VERDICT_NAME,), make_verdict, no_cases),
        _step(target, "prior", _pair(folder, "prior"), make_prior, no_videos),
    ]


def _acting(target: Target) -> list[Step]:
    """Controllers, the distilled and the action-conditioned model, and what is distilled from that one."""
    folder, sources, kinds = target.folder, target.sources, list(target.kinds.values())

    def without_episodes() -> str:
        if not kinds:
            return "it needs --episodes with known actions"
        left = [embodiment.name for embodiment in target.embodiments if embodiment.name not in target.kinds]
        return f"it needs --episodes with actions of the kind {left[0]} too" if left else ""

    def distil(minutes: float | None, baseline: bool = False) -> bool:
        work = target.work("twin-draft" if baseline else "draft", minutes)
        config = DistillationConfig(steps=target.amounts.distilled)
        return make_distilled(
            work, kinds, sources.split, config, videos=None if baseline else sources.videos, baseline=baseline
        )

    def train_baseline(minutes: float | None) -> bool:
        config = BaselineTrainingConfig(steps=target.amounts.baseline)
        return make_action_conditioned(target.work("twin", minutes), kinds, sources.split, config)

    def outdated_distilled_baseline() -> str:
        why = foreign(folder / "twin-draft.json", target.checkpoint)
        named = read_json(folder / "twin-draft.json").get("about", {}).get("twin")
        # Those of an earlier version do not name their teacher.
        if not why and named and named != fingerprint_of(folder / "twin.safetensors"):
            return "it was distilled from another twin"
        return why

    def no_data() -> str:
        return without_episodes() or without_videos(target)

    distilled_baseline = partial(distil, baseline=True)
    return [
        *(_controller(target, embodiment, blind) for blind in (False, True) for embodiment in target.embodiments),
        _step(target, "draft", _pair(folder, "draft"), distil, no_data),
        _step(target, "twin", _pair(folder, "twin"), train_baseline, without_episodes),
        Step(
            "twin-draft",
            _pair(folder, "twin-draft"),
            distilled_baseline,
            outdated_distilled_baseline,
            ("twin",),
            without_episodes,
        ),
    ]


def _controller(target: Target, embodiment: Embodiment, blind: bool) -> Step:
    """An embodiment's controller, or the one that sees no state."""
    group, name = ("ablations", f"{embodiment.name}-mlp") if blind else ("controllers", embodiment.name)
    folder = target.folder / ABLATIONS if blind else target.folder

    def make(minutes: float | None) -> bool:
        work = target.work(f"{group}/{embodiment.name}", minutes, folder)
        source, split = target.kinds[embodiment.name], target.sources.split
        found, judged = open_source(source), None
        if split is not None:
            parts = Split.read(split)
            found, judged = found.split(parts, "train"), found.split(parts, "validation")
        sizes, config = _configs(embodiment, blind, found.spec.width, work.sizes[-1])
        place, _, part = source.partition("#")
        about = {"source": Path(place).name, "part": part or None, "split": split.name if split is not None else None}
        return make_controller(work, name, found, judged, sizes, config, about=about)

    def lacks() -> str:
        kind = embodiment.name
        return "" if kind in target.kinds else f"it needs --episodes with actions of the kind {kind}"

    return _step(target, f"{group}/{embodiment.name}", _pair(folder / "controllers", name), make, lacks)


def _configs(
    embodiment: Embodiment, blind: bool, actions: int, grid: int
) -> tuple[ControllerConfig, ControllerTrainingConfig]:
    patch = token_patch(grid)
    if blind:
        return (
            ControllerConfig(actions, "actions", embodiment.history, dropout=embodiment.blind.dropout, patch=patch),
            ControllerTrainingConfig(steps=embodiment.blind.steps, noise=embodiment.blind.noise),
        )
    return (
        ControllerConfig(
            actions, "state", embodiment.history, embodiment.width, dropout=embodiment.dropout, patch=patch
        ),
        ControllerTrainingConfig(steps=embodiment.steps, noise=embodiment.noise),
    )
