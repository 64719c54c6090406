"""What is told and shown of a checkpoint: reports, and of a bundled one cards, results, gallery, examples, pictures."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from filecmp import cmp as same
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.companions.records import fingerprint_of, foreign, read_json
from lamdemo.companions.steps import Step
from lamdemo.companions.target import ABLATIONS, ROOT, Target, without_videos
from lamdemo.core.files import write_safely
from lamdemo.engine import TransferPipeline, bundled_checkpoints
from lamdemo.models.checkpoint import checkpoint_hash
from lamdemo.ui import prepared
from lamdemo.ui.views import read_examples

# Parts of the suite, and how many clips or cases each is judged on at most.
LIMITS: dict[str, int | None] = {
    "videos": 80,
    "pairs": 63,
    "rollouts": 32,
    "latents": 24,
    "content": 80,
    "probes": 60,
    "locality": 18,
    "space": None,
    "entering": 18,
}
SECOND_HAND = "secondhand"  # as `lamdemo.reporting.second_hand.PART`
EPISODES = 50  # that known actions and plans are judged on, of each embodiment
_TOGETHER = ("locality", "entering")  # parts with a picture of all bundled checkpoints


def report_steps(target: Target, before: Sequence[Step]) -> list[Step]:
    """Reports: one step for each part of the suites."""
    out = ROOT / "reports" if target.bundled else target.out / "reports"
    folder, sources = out / target.name, target.sources
    acting = tuple(step.name for step in before if step.name not in ("latents", "atlas", "verdict", "prior"))

    def file(part: str) -> Path:
        return folder / f"{part}.json"

    def judge(part: str) -> bool:
        from lamdemo.evaluation import SuiteConfig, run_suite

        pipelines = {target.name: target.pipeline()}
        if target.bundled and part in _TOGETHER:
            pipelines = {n: TransferPipeline.from_pretrained(p) for n, p in bundled_checkpoints().items()}
        videos = None if part in ("pairs", *_TOGETHER) else sources.videos
        split = sources.split if videos is not None else None
        config = SuiteConfig(videos, sources.pairs, split, max_clips=LIMITS[part], only=(part,))
        run_suite(pipelines, out, config, command=target.command, say=target.say)
        return True

    def judge_second_hand(minutes: float | None) -> bool:
        from lamdemo.evaluation import evaluate_pairs, write_report

        assert sources.second_hand is not None
        pipeline = target.pipeline()
        result = evaluate_pairs(pipeline, sources.second_hand)
        write_report(
            file(SECOND_HAND), result, command=target.command, pipeline=pipeline, seed=0, data=sources.second_hand
        )
        return True

    def judge_prior(minutes: float | None) -> bool:
        from lamdemo.evaluation import ClipSet
        from lamdemo.evaluation.priors import judge_priors

        assert sources.videos is not None
        name = target.name
        clips = ClipSet(sources.videos, sources.split)
        judge_priors({name: target.pipeline()}, {name: target.folder}, clips, out, target.command)
        return True

    def no_data(part: str) -> str:
        if part in _TOGETHER:
            return ""
        if part == SECOND_HAND:
            return "" if sources.second_hand else "it needs --second-hand, a folder of `lamdemo scenes --hand other`"
        if part == "pairs":
            return "" if sources.pairs is not None else "it needs --pairs, a folder of `lamdemo scenes`"
        return without_videos(target) or (
            "" if sources.split is not None else "it needs --split, to judge on test clips"
        )

    def step(part: str, make: Callable[[float | None], bool], needs: tuple[str, ...] = ()) -> Step:
        path, own = file(part), target.checkpoint
        return Step(f"reports/{part}", (path,), make, lambda: foreign(path, own), needs, lambda: no_data(part))

    def of_suite(part: str) -> Step:
        return step(part, lambda minutes: judge(part))

    second_hand = step(SECOND_HAND, judge_second_hand)
    prior = step("prior", judge_prior, ("latents", "prior"))
    # A checkpoint need not drive everything: a report is of what it had when it was judged.
    if file("control").is_file():
        acting = tuple(s.name for s in before if s.name in acting and all(f.is_file() for f in s.files)) or acting
    control = [_control(target, out, file("control"), acting)] if target.whole and acting else []
    return [*map(of_suite, LIMITS), second_hand, prior, *control]


def _control(target: Target, out: Path, path: Path, needs: tuple[str, ...]) -> Step:
    """The report on known actions and plans, which notes what each of its sections was made from."""
    root = next((Path(s.partition("#")[0]) for s in target.sources.episodes if "#" in s), None)
    folder = target.folder

    def outdated() -> str:
        if why := foreign(path, target.checkpoint):
            return why
        names = {"twin": "twin", "draft": "draft", "twin_draft": "twin-draft"}
        others = {key: fingerprint_of(folder / f"{name}.safetensors") for key, name in names.items()}
        results = read_json(path).get("results") or {}
        for embodiment in target.embodiments:
            controller = fingerprint_of(folder / "controllers" / f"{embodiment.name}.safetensors")
            blind = fingerprint_of(folder / ABLATIONS / "controllers" / f"{embodiment.name}-mlp.safetensors")
            now = {"controller": controller, "ablation": blind, **others}
            sections = [_table(_table(part).get(embodiment.name)) for part in results.values()]
            made_from = [_table(section["made_from"]) for section in sections if "made_from" in section]
            if not made_from and not (folder / "controllers" / f"{embodiment.name}.safetensors").is_file():
                continue
            if not made_from:
                return f"it says nothing of {embodiment.name}"
            for made in made_from:
                if other := next((k for k, v in now.items() if k in made and (made[k] or "") != v), ""):
                    return f"{embodiment.name} was judged with another {other.replace('_', ' ')}"
        return ""

    def make(minutes: float | None) -> bool:
        from lamdemo.evaluation.control import ControlConfig, run_control

        config = ControlConfig(root, target.sources.split, max_episodes=EPISODES, ablations=folder / ABLATIONS)
        run_control({target.name: target.pipeline()}, out, config, command=target.command, say=target.say)
        return True

    def lacks() -> str:
        from lamdemo import simulators

        missing = simulators.available()
        embodiments = [embodiment for embodiment in target.embodiments if embodiment.simulator]
        if (simulator := next((b.name for b in embodiments if missing.get(b.name)), "")) != "":
            return f"the simulator {simulator} is not there (`pip install lamdemo[sim]`)"
        if root is None and len(embodiments) < len(target.embodiments):
            return "it needs --episodes DIR#PART, the held-out recordings of which it is judged on"
        return (
            "" if root is None or target.sources.split is not None else "it needs --split, to judge on test recordings"
        )

    return Step("reports/control", (path,), make, outdated, needs, lacks)


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def shown_steps(target: Target, before: Sequence[Step]) -> list[Step]:
    """What a bundled checkpoint is shown by. The gallery and the cards are about all bundled ones."""
    # Tables tell what was not measured; what was must be of these weights.
    reports = tuple(s.name for s in before if s.group == "reports" and all(f.is_file() for f in s.files))
    steps = [_cards(reports), _results(reports), _gallery()]
    return [*steps, *_of_default(target)] if target.name == DEFAULT_CHECKPOINT else steps


def _cards(needs: tuple[str, ...]) -> Step:
    """The tables of the README and of the model cards."""
    cards = (
        ROOT / "README.md",
        ROOT / "docs/guide.md",
        *(folder / "README.md" for folder in bundled_checkpoints().values()),
    )

    def filled() -> dict[Path, str]:
        from lamdemo.reporting.page import chosen_of, fill_card
        from lamdemo.reporting.reports import read_reports

        found = read_reports(ROOT / "reports")
        return {path: fill_card(path, found, chosen_of(found)) for path in cards}

    def outdated() -> str:
        old = next((p for p, text in filled().items() if p.read_text(encoding="utf-8") != text), None)
        return "" if old is None else f"the tables of {old.relative_to(ROOT)} are not those of the reports"

    def make(minutes: float | None) -> bool:
        from lamdemo.reporting.page import write_card

        for path, text in filled().items():
            write_card(path, text)
        return True

    return Step("cards", cards, make, outdated, needs)


def _results(needs: tuple[str, ...]) -> Step:
    """The page of all results with its plots."""
    folder = ROOT / "docs/results"

    def written(place: Path, png: bool) -> None:
        from lamdemo.reporting.page import chosen_of, write_results
        from lamdemo.reporting.reports import read_reports

        found = read_reports(ROOT / "reports")
        write_results(found, chosen_of(found), place, folder, png=png)

    def same_plots() -> bool:
        """Whether the plots are what they were, so that their pictures need not be drawn."""
        with tempfile.TemporaryDirectory() as name:
            written(Path(name), False)
            plots = list(Path(name).glob("*.html"))
            return all((folder / p.name).is_file() and same(p, folder / p.name, False) for p in plots)

    def outdated() -> str:
        from lamdemo.reporting.page import PAGE, chosen_of, results_text
        from lamdemo.reporting.reports import read_reports

        found = read_reports(ROOT / "reports")
        text = results_text(found, chosen_of(found), folder, pictures=True)
        if (folder / PAGE).read_text(encoding="utf-8") != text:
            return "it is not what the reports say"
        return "" if same_plots() else "its plots are not what the reports say"

    def make(minutes: float | None) -> bool:
        from lamdemo.reporting.page import PAGE, chosen_of, results_text
        from lamdemo.reporting.reports import read_reports

        if same_plots():
            found = read_reports(ROOT / "reports")
            text = results_text(found, chosen_of(found), folder, pictures=True)
            write_safely(folder / PAGE, text.encode())
            return True
        with tempfile.TemporaryDirectory() as name:
            written(Path(name), True)
            for file in Path(name).iterdir():
                write_safely(folder / file.name, file.read_bytes())
        return True

    def lacks() -> str:
        return _no_browser() if _no_browser() and not same_plots() else ""

    return Step("results", (folder / "results.md",), make, outdated, needs, lacks)


def _gallery() -> Step:
    """The gallery, of the checkpoint of each family that there is; all of its fixed cases."""
    folder = ROOT / "docs/gallery"

    def fixed() -> list[str]:
        return list(json.loads((ROOT / "docs/cases.json").read_text(encoding="utf-8")))

    def outdated() -> str:
        report = read_json(folder / "gallery.json")
        named = {_table(c).get("folder"): _table(c).get("sha256") for c in _table(report.get("checkpoints")).values()}
        items = _table(report.get("items"))
        for name, place in bundled_checkpoints().items():
            if name in named and named[name] != checkpoint_hash(place):
                return f"it was made with another {name}"
        if not named:
            return "it names no checkpoint"
        shown = [c for c in fixed() if (folder / str(_table(items.get(c)).get("file"))).is_file()]
        return "" if shown == fixed() == list(items) else "it does not show all of its cases and no others"

    def make(minutes: float | None) -> bool:
        gallery = script("make_gallery")
        command = gallery.shown_command(["--checkpoints", "checkpoints", "--out", "docs/gallery"])
        gallery.make(ROOT / "checkpoints", folder, fixed(), command)
        return True

    return Step("gallery", (folder / "gallery.json", ROOT / "docs/gallery.md"), make, outdated, ("latents",))


def _of_default(target: Target) -> list[Step]:
    """What shows the default checkpoint alone: the page's examples, pictures of the README, the notebook."""
    examples = ROOT / "examples"
    pairs = read_examples(examples)
    told = [examples / prepared.FOLDER / pair.name / "prepared.json" for pair in pairs]

    def prepare(minutes: float | None) -> bool:
        for pair in pairs:
            prepared.write(examples, pair, str(target.folder))
        return True

    def look(minutes: float | None) -> bool:
        from lamdemo.evaluation.look import CASES_NAME, look_sheet, read_cases, write_look

        sheet = look_sheet(target.pipeline(), read_cases(examples / CASES_NAME), say=target.say)
        write_look(sheet, ROOT / f"docs/looks/{own[:8]}.jpg")
        return True

    def tilt(minutes: float | None) -> bool:
        script("make_media").make_all(target.folder)
        return True

    def picture_space(minutes: float | None) -> bool:
        script("make_space").main()
        return True

    def run_notebook(minutes: float | None) -> bool:
        script("run_notebook").main()
        return True

    def absent(*modules: str) -> str:
        missing = [m for m in modules if find_spec(m) is None]
        return f"it needs the library {missing[0]}" if missing else ""

    own = target.checkpoint
    needed = "latents", "atlas", "prior"
    return [
        Step(
            "examples",
            tuple(file for path in told for file in (path, path.with_name("result.json"))),
            prepare,
            lambda: next(filter(None, (foreign(path, own) for path in told)), ""),
            ("latents",),
            lambda: absent("gradio"),
        ),
        # Named by the weights: those of earlier checkpoints stay, to be compared with.
        Step("look", (ROOT / f"docs/looks/{own[:8]}.jpg",), look, lambda: ""),
        Step("pictures/tilting", (ROOT / "docs/tilting.gif",), tilt),
        Step(
            "pictures/space",
            (ROOT / "docs/space.jpg",),
            picture_space,
            needs=("latents", "atlas"),
            lacks=lambda: absent("gradio", "playwright") or _no_browser(),
        ),
        Step(
            "notebook",
            (ROOT / "docs/latent_space.ipynb",),
            run_notebook,
            needs=needed,
            lacks=lambda: absent("nbclient", "nbformat", "ipykernel"),
        ),
    ]


def _no_browser() -> str:
    found = any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "chrome"))
    return "" if found else "it needs Chromium, to take pictures"


def script(name: str) -> ModuleType:
    """A script of the folder ``docs``, which is no package."""
    known = f"lamdemo_docs_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, ROOT / f"docs/{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[known] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    return sys.modules[known]
