"""Tables and plots of reports: figures come from reports and nowhere else, and say where they are missing."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from test_evaluation import panned, texture

from lamdemo.cli import main
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation import SuiteConfig, run_suite
from lamdemo.evaluation.statistics import ratio_of_means
from lamdemo.evaluation.suite import PARTS
from lamdemo.models import LatentActionModel, checkpoint_hash, save_checkpoint
from lamdemo.reporting import drawing
from lamdemo.reporting.drawing import write_plots
from lamdemo.reporting.page import PAGE, chosen_of, fill, fill_card, results_text, write_results
from lamdemo.reporting.plots import COLOURS, PLOTS, make_plots
from lamdemo.reporting.reports import (
    OTHER_PARTS,
    Figure,
    figure_of,
    over_copied_flow,
    pooled,
    prediction,
    probed,
    read_reports,
)
from lamdemo.reporting.tables import TABLES, make_table
from lamdemo.reporting.targets import NOT_MEASURED, marks
from lamdemo.reporting.view import View, relative
from lamdemo.video import read_image, write_video

ROOT = Path(__file__).parents[1]
FAMILIES = ("noisy", "sparse", "discrete")
HORIZONS = (1, 2, 4, 8, 16, 32)
KINDS = ("both", "enter", "grow", "leave", "move", "pan", "roll", "turn", "zoom")


def interval(value: float, half: float = 0.02) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def clips_summary(error: float, leakage: float = 2.5, cycle: float = 1.05) -> dict[str, Any]:
    """One part of ``videos.json``."""
    methods = {"model": error, "zero": 1.0, "shuffled": 1.2, "copied_flow": 1.05, "own_flow": 0.8}
    one = {
        "steps": 80,
        "recordings": 5,
        "error": {"copy": 0.5, **{m: 0.5 * v for m, v in methods.items()}},
        "over_copy": {m: interval(v) for m, v in methods.items()},
    }
    back = {"steps": 80, "own": 0.5 * error, "cycled": 0.5 * error * cycle, "ratio": interval(cycle, 0.01)}
    back["shuffled"] = interval(1.2 / error, 0.05)
    return {
        "one_step": {"all": one, "moving": one, "still": one},
        "eight_step": {"last": one, "mean": one},
        "leakage": {"cuts": 10, "ratio": interval(leakage, 0.2), "error_cut": 0.9, "error_uncut": 0.36},
        "cycle": {"one_step": {"all": back, "moving": back, "still": back}, "eight_step": back},
    }


def videos(error: float, leakage: float, cycle: float) -> dict[str, Any]:
    whole = clips_summary(error, leakage, cycle)
    return {
        "evaluation": "videos",
        "settings": {"part": "test", "fps": 4.0, "steps": 8, "max_clips": None, "seed": 0, "moving_above": 1.4},
        "clips": {"folder": "data", "files": 12, "sha256": "ab", "recordings": 11, "windows": 24, "skipped": []},
        "headline": {"one_step_moving": interval(error)},
        "all": whole,
        "parts": {p: clips_summary(error, leakage, cycle) for p in ("nav", "robot", "wild", "wild_nc")},
    }


def transfers(motion: float) -> dict[str, Any]:
    methods = {"model": motion, "zero": 1.0, "shuffled": 3.0, "copied_flow": 0.5, "true_flow": 0.1}

    def summary(cases: int) -> dict[str, Any]:
        return {
            "cases": cases,
            "seconds_per_transfer": 0.5,
            "methods": {m: {"psnr": 20.0, "ssim": 0.7, "perceptual": 0.2} for m in ("copy", *methods)},
            "motion_over_copy": {m: {**interval(v), "median": v} for m, v in methods.items()},
            "sharpness": {"model": 0.96, "truth": 0.9, "copied_flow": 0.95, "model_16": 0.85},
        }

    rows = [
        {
            "name": f"{i:04d}-{k}",
            "kind": k,
            "steps": 8,
            "motion": {"copy": 2.0, **{m: 2 * v for m, v in methods.items()}},
        }
        for i, k in enumerate(KINDS)
    ]
    return {
        "evaluation": "pairs",
        "settings": {"max_clips": None, "seed": 0, "perceptual_is": "frozen features"},
        "clips": {"folder": "cases", "files": 27, "sha256": "cd"},
        "all": summary(9),
        "kinds": {k: summary(1) for k in KINDS},
        "cases": rows,
    }


def second_hand() -> dict[str, Any]:
    methods = {"model": 0.38, "zero": 1.0, "shuffled": 1.4, "copied_flow": 0.8, "true_flow": 0.2}

    def figures(share: float) -> dict[str, Any]:
        motion = {m: interval(share * v) for m, v in methods.items()}
        layers = {k: {m: interval(v) for m, v in methods.items()} for k in ("on_thing_last", "in_hole_last")}
        return {"cases": 4, "motion_over_copy": motion, "layers": layers}

    kinds = {k: figures(s) for k, s in (("move", 1.0), ("enter", 2.5), ("pan", 1.0))}
    entering = {
        m: {"likeness": interval(v), "likeness_last": interval(v), "place": interval(v)} for m, v in methods.items()
    }
    kinds["enter"]["entering"] = {**entering, "copy": {k: interval(0.0, 0.0) for k in entering["model"]}}
    return {
        "evaluation": "pairs",
        "settings": {"max_clips": None, "seed": 0},
        "clips": {"folder": "other", "files": 36, "sha256": "ef"},
        "mean_of_kinds": {**figures(1.5), "iou": interval(0.7)},
        "all": {"cases": 12},
        "kinds": kinds,
    }


def rollouts(error: float) -> dict[str, Any]:
    at = {str(h): interval(min(error + 0.05 * math.log2(h), 1.1)) for h in HORIZONS}
    sharp = {str(h): interval(1 - 0.02 * math.log2(h)) for h in HORIZONS}
    whole = {
        "clips": 6,
        "recordings": 6,
        "state": {"error": {}, "over_copy": {}, "intervals": {"model": at, "zero": at}},
        "pictures": {
            "clips": 3,
            "sharpness": {"model": sharp, "zero": sharp, "truth": sharp},
            "perceptual_over_copy": {"model": at, "zero": at},
        },
    }
    return {
        "evaluation": "rollouts",
        "settings": {"part": "test", "seed": 0},
        "clips": {"files": 6, "recordings": 6, "skipped": []},
        "perceptual_is": "LPIPS",
        "all": whole,
        "parts": {},
    }


def latents(family: str, nats: float) -> dict[str, Any]:
    own = {"noisy": 1.5 * nats, "sparse": None, "discrete": nats}[family]
    dimensions: dict[str, Any] = {"channels": 16, "active": None if family == "discrete" else 5.0, "participation": 3.2}
    if family == "discrete":
        dimensions |= {"codes": 256, "codes_used": 200, "perplexity": 90.5}
    whole = {
        "information": {"nats": own, "is": "x", "ceiling_nats": None},
        "dimensions": dimensions,
        "samples": {"nearest": {"ratio": 1.3}, "energy": {"share": 0.04, "p": 0.001}, "seen": None},
    }
    return {
        "evaluation": "latents",
        "settings": {"part": "test", "seed": 0},
        "clips": {"files": 12, "recordings": 11, "skipped": []},
        "channel": {"effective_nats": nats, "why": ""},
        "all": whole,
        "parts": {},
    }


def probes(value: float) -> dict[str, Any]:
    def target() -> dict[str, Any]:
        return {
            "z": {"linear": interval(value), "mlp": interval(value + 0.01), "linear_now": interval(0.3)},
            "z_shuffled": {"linear": interval(-0.4)},
            "mean": {"linear": interval(0.0)},
            "difference": {"linear": interval(0.5), "mlp": interval(0.55)},
            "pooled": {"linear": interval(0.45), "mlp": interval(0.5)},
        }

    def setting(*names: str) -> dict[str, Any]:
        about = {"parts": ["test"], "recordings": 5, "steps": 60}
        return {"fitted_on": about, "judged_on": about, "folds": 1, "targets": {n: target() for n in names}}

    return {
        "evaluation": "probes",
        "settings": {"part": "test", "seed": 0},
        "videos": {"files": 9, "skipped": []},
        "scenes": setting("pan", "zoom", "roll", "move", "pan_x"),
        "clips": {
            "droid": {"across": setting("translation", "rotation")},
            "nav": {"within": setting("steering"), "across": setting("steering", "throttle")},
        },
    }


def locality() -> dict[str, Any]:
    one = {
        k: interval(v) for k, v in (("moved", 0.6), ("other", 0.1), ("elsewhere", 0.3), ("right", 0.9), ("amount", 0.8))
    }
    of = {m: copy.deepcopy(one) for m in ("model", "zero", "shuffled", "copied_flow", "truth")}
    return {
        "evaluation": "locality",
        "settings": {"cases": 24, "seed": 0},
        "chance": {"moved": 0.12, "other": 0.08, "elsewhere": 0.8, "path": 0.2},
        "targets": {"things": of, "plain": of},
    }


def entering() -> dict[str, Any]:
    one = {
        "auc": {k: interval(0.7) for k in ("still", "pan", "shuffled", "all")},
        "shown": interval(0.4),
        "right_place": interval(0.3),
        "place_error": 0.2,
        "time_error": -0.5,
    }
    truth = {**one, "auc": {"still": interval(1.0, 0.0), "all": interval(1.0, 0.0)}, "time_error": None}
    methods = {"model": one, "copied_flow": one, "truth": truth}
    return {
        "evaluation": "entering",
        "settings": {"cases": 24, "near": 0.15, "seed": 0},
        "methods": {m: {"photometric": v, "perceptual": v} for m, v in methods.items()},
    }


def space() -> dict[str, Any]:
    def asked(value: float) -> dict[str, Any]:
        beside = {"states": interval(0.3), "flow": interval(0.6)}
        balanced = {"z": value, "chance": 0.25}
        return {"queries": 9, "pool": 9, "chance": 0.4, "balanced": balanced, "z": interval(value), **beside}

    def sums(*methods: str) -> dict[str, Any]:
        each = {m: interval(0.9) for m in methods}
        return {"cases": 6, "better": each, "over_either": each, "over_copy": each, "median_over_either": 0.5}

    turns = {"turns": asked(0.95), "all": asked(0.9), "delayed": asked(0.97)}
    back = {"picture": interval(0.3), "state": interval(0.9), "picture_alone": 27.0, "state_alone": 0.5}
    latents = {"distance": interval(0.5), "distance_of_nearer": interval(0.6), "cosine": 0.9}
    return {
        "evaluation": "space",
        "settings": {"part": "test", "seed": 0, "scenes": 18, "cases": 6, "clips": 4, "clear_turn": 0.25},
        "neighbours": {
            "scenes": {
                "steps": 140,
                "left_out": 4,
                "direction": {"all": asked(0.9)},
                **{q: asked(0.81) for q in ("nine", "four", "four_and_both", "shared")},
            },
            "steering": {s: turns for s in ("test", "validation", "test_among_validation")},
        },
        "arithmetic": {
            "sum": {
                **sums("sum", "joint", "shuffled", "copied_flow"),
                "pairs": {"pan + zoom": sums("sum", "a", "b", "joint", "shuffled", "copied_flow")},
                "latents": latents,
            },
            "interpolation": sums("half", "copy"),
            "reversal": {"own": back, "shuffled": back},
            "strength": {"fit": {"slope": 1.0, "intercept": 0.0, "r2": 0.99}},
        },
        "zero": {"motion": interval(0.1)},
    }


def prior() -> dict[str, Any]:
    ways = ("fixed", "gaussian", "resampled", "stateless", "shuffled", "learned")
    score = {"value": 2.0, "over_stateless": interval(0.9)}
    return {
        "evaluation": "prior",
        "settings": {"part": "test", "seed": 0},
        "clips": {"files": 12, "recordings": 11, "skipped": []},
        "all": {
            "energy": {w: interval(0.4) for w in ways},
            "closer": {w: interval(0.3) for w in ways if w != "learned"},
            "floor": interval(0.05),
        },
        "two_sample": {w: {"share": 0.1, "p": 0.002, "accuracy": 0.6} for w in ways},
        "nearest": {w: 1.2 for w in ways},
        "step": {w: {"score": score} for w in ways},
    }


def control() -> dict[str, Any]:
    methods = ("controller", "mlp", "latent", "twin", "shuffled", "zero", "mean", "held", "random", "copy", "hidden")
    methods += ("inverse", "closing")
    each = {m: interval(0.55) for m in methods}
    rollouts = {"stretches": 60, "recordings": 30, "perceptual_is": "LPIPS", "over_inferred": each}
    rollouts |= {"mlp_over_controller": interval(1.4), "state": {"recovered": each}}
    plans = {"pairs": 60, "recordings": 30, "over_zero": each, "over_twin": {m: interval(1.3) for m in methods}}
    loops = {"tasks": 50, "distance_is": "metres", "start": interval(0.3)}
    loops |= {k: each for k in ("success", "touched", "distance", "over_twin", "over_random", "over_zero")}
    return {
        "evaluation": "control",
        "settings": {"part": "test", "seed": 0},
        "rollouts": {"car": rollouts, "fetch": rollouts},
        "openloop": {"car": plans, "arm": {**plans, "metres": {"controller": 0.03, "zero": 0.08}}},
        "closedloop": {"fetch": loops},
    }


def label_curve() -> dict[str, Any]:
    point = {
        "seeds": [0, 1, 2],
        **{k: interval(0.5) for k in ("one_step_over_copy", "success", "distance", "distance_over_start")},
    }
    points = {m: {"5": point, "240": point} for m in ("pretrained", "unlabelled", "labelled")}
    points |= {m: {"5": {"seeds": [0], "success": interval(0.9)}} for m in ("inverse", "labelled_inverse")}
    others = {"random": {"success": interval(0.02)}, "inferred, unlabelled": {"one_step_over_copy": interval(0.4)}}
    curve = {"points": points, "others": others, "level": {}}
    return {"evaluation": "label_curve", "settings": {"tasks": 51}, "curves": {"fetch": curve}}


def content() -> dict[str, Any]:
    inputs = ("latent", "even", "motion", "difference", "shuffled", "mlp")
    return {"evaluation": "content", "look": {name: interval(0.1) for name in inputs}, "steps": 40, "recordings": 8}


def futures() -> dict[str, Any]:
    ways = ("inferred", "sampled", "best", "averaged", "uncommanded", "shuffled", "copy")
    return {
        "evaluation": "futures",
        "over_controller": {name: interval(0.98 if name == "best" else 1.05) for name in ways},
        "time": {name: {"order": interval(0.6)} for name in ("noise", "nothing")},
    }


def write(folder: Path, name: str, family: str, parts: dict[str, Any], sha256: str = "") -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    for part, results in parts.items():
        about = {"name": name, "sha256": sha256 or name, "family": family}
        (folder / name / f"{part}.json").write_text(json.dumps({"checkpoint": about, "results": results}))


def every_part(family: str, error: float, nats: float) -> dict[str, Any]:
    return {
        "videos": videos(error, 2.5 if family != "discrete" else 1.9, 1.1),
        "pairs": transfers(0.3),
        "secondhand": second_hand(),
        "rollouts": rollouts(error),
        "latents": latents(family, nats),
        "probes": probes(0.97),
        "locality": locality(),
        "entering": entering(),
        "space": space(),
        "prior": prior(),
        "control": control(),
        "label_curve": label_curve(),
        "content": content(),
        "futures": futures(),
    }


@pytest.fixture
def nine(tmp_path: Path) -> Path:
    """A folder of reports of nine checkpoints: errors fall with capacity, discrete ones are worse."""
    folder = tmp_path / "reports"
    for i, family in enumerate(FAMILIES):
        for k, level in enumerate(("-low", "", "-high")):
            error = 0.6 - 0.05 * k + (0.15 if family == "discrete" else 0.01 * i)
            write(folder, family + level, family, every_part(family, error, 4.0 * 3**k))
    return folder


@pytest.fixture
def view(nine: Path) -> View:
    return View(read_reports(nine), "noisy", nine.parent)


def rows_of(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("|") and not line.startswith("| ---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return call


class TestReading:
    def test_families_in_order_of_capacity(self, nine: Path) -> None:
        names = [r.name for r in read_reports(nine)]
        assert names == [f + level for f in FAMILIES for level in ("-low", "", "-high")]

    def test_dials_are_those_of_the_judged_weights(self, tmp_path: Path) -> None:
        folder = tmp_path / "checkpoints"
        save_checkpoint(LatentActionModel(TINY), folder / "mine", about={"stem_steps": 7, "branch_steps": 3})
        family, dial = TINY.bottleneck.family, TINY.bottleneck.capacity
        write(tmp_path / "a", "mine", family, {"latents": latents("noisy", 3)}, checkpoint_hash(folder / "mine"))
        write(tmp_path / "b", "mine", family, {"latents": latents("noisy", 3)}, "of other weights")
        judged, other = read_reports(tmp_path / "a", folder)[0], read_reports(tmp_path / "b", folder)[0]
        assert judged.capacity == dial and f"{dial:g}" in judged.dial and judged.training == (7, 3, None)
        assert other.capacity is None and other.dial == "" and other.training is None

    def test_what_is_no_number_is_no_figure(self) -> None:
        assert figure_of({"value": None, "low": None, "high": None}) is None
        assert figure_of({"value": float("nan")}) is None and figure_of("0.5") is None and figure_of(True) is None
        assert figure_of({"value": 2, "low": None, "high": 3}) == Figure(2.0, None, 3.0)

    @pytest.mark.parametrize("text", ["{", "[]", '{"results": []}', '{"results": {}}', "\ufffe"])
    def test_damaged(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "noisy").mkdir()
        (tmp_path / "noisy" / "videos.json").write_text(text)
        with pytest.raises(LamdemoError, match=r"noisy/videos\.json is damaged"):
            read_reports(tmp_path)

    def test_no_reports(self, tmp_path: Path) -> None:
        (tmp_path / "noisy").mkdir()
        (tmp_path / "noisy" / "benchmark.json").write_text("{}")
        with pytest.raises(LamdemoError, match="holds no reports"):
            read_reports(tmp_path)
        with pytest.raises(LamdemoError, match="no folder missing"):
            read_reports(tmp_path / "missing")

    def test_reports_of_two_checkpoints_are_not_mixed(self, tmp_path: Path) -> None:
        write(tmp_path, "noisy", "noisy", {"videos": videos(0.5, 2, 1)}, "one")
        write(tmp_path, "noisy", "noisy", {"pairs": transfers(0.3)}, "other")
        with pytest.raises(LamdemoError, match="different checkpoints"):
            read_reports(tmp_path)


class TestFigures:
    def test_pooling_is_the_ratio_of_sums(self) -> None:
        rng = np.random.default_rng(0)
        sides = []
        for n, level in ((30, 0.6), (60, 0.7)):
            under = rng.uniform(0.5, 1.5, (n, 4))
            sides.append((under * level * rng.uniform(0.7, 1.3, (n, 1)), under, np.repeat(np.arange(n), 4)))
        parts = []
        for over, under, names in sides:
            parts.append((figure_of(ratio_of_means(over.ravel(), under.ravel(), names.tolist())), under.sum()))
        joined = [np.concatenate([s[k].ravel() for s in sides]) for k in (0, 1)]
        names = [f"{i} {x}" for i, s in enumerate(sides) for x in s[2]]
        whole = ratio_of_means(*joined, names)
        got = pooled(parts)  # type: ignore[arg-type]
        assert got is not None and got.low is not None and got.high is not None
        assert got.value == pytest.approx(whole["value"])
        assert got.high - got.low == pytest.approx(whole["high"] - whole["low"], rel=0.15)  # type: ignore[operator]
        assert pooled([]) is None

    def test_parts_of_the_wild_are_weighted_by_their_steps(self, tmp_path: Path) -> None:
        results = videos(0.5, 2, 1)
        results["parts"]["wild"] = clips_summary(0.4)
        results["parts"]["wild_nc"] = clips_summary(0.8)
        results["parts"]["wild_nc"]["one_step"]["moving"] |= {"steps": 240}
        write(tmp_path, "noisy", "noisy", {"videos": results})
        got = prediction(read_reports(tmp_path)[0], "one_step", "in-the-wild")
        assert got is not None and got.value == pytest.approx((80 * 0.4 + 240 * 0.8) / 320)

    def test_over_copied_flow_is_of_all_cases(self, view: View) -> None:
        one = view.one
        assert one is not None
        got = over_copied_flow(one)
        assert got is not None and got.value == pytest.approx(0.3 / 0.5)
        one.results["pairs"]["cases"][0]["motion"].pop("copied_flow")
        assert over_copied_flow(one) is None

    def test_probes_of_recordings_never_fitted_on_come_first(self, view: View) -> None:
        one = view.one
        assert one is not None and probed(one, "steering") == (Figure(0.97, 0.95, 0.99), "nav, across")
        del one.results["probes"]["clips"]["nav"]["across"]
        found = probed(one, "steering")
        assert found is not None and found[1] == "nav, within"
        assert probed(one, "throttle") is None


class TestTables:
    @pytest.mark.parametrize("name", TABLES)
    def test_each_names_its_reports(self, view: View, name: str) -> None:
        made = make_table(name, view)
        links = set(re.findall(r"\]\(([^)]+)\)", made))
        assert links and all((view.folder / link).is_file() for link in links)  # type: ignore[operator]
        heights = {len(r) for r in rows_of(made.split("\n\n")[0])}
        assert len(heights) <= 1

    @pytest.mark.parametrize("name", [n for n in TABLES if n != "targets"])
    def test_missing_reports_are_said_to_be_missing(self, tmp_path: Path, name: str) -> None:
        write(tmp_path, "noisy", "noisy", {"benchmark": {}, "pairs": {}, "videos": {}, "latents": {}})
        empty = View([r for r in read_reports(tmp_path)], "noisy")
        for part in list(empty.reports[0].results):
            del empty.reports[0].results[part]  # type: ignore[attr-defined]
        assert make_table(name, empty).startswith("Not measured: there is no report")

    @pytest.mark.parametrize("name", TABLES)
    def test_reports_without_figures(self, tmp_path: Path, name: str) -> None:
        write(tmp_path, "noisy", "noisy", {p: {} for p in every_part("noisy", 1, 1)})
        made = make_table(name, View(read_reports(tmp_path), "noisy"))
        assert not re.search(r"None|nan|\d\.\d\d \[", made)

    def test_a_row_a_checkpoint(self, view: View) -> None:
        rows = rows_of(make_table("prediction", view).split("\n\n")[1])
        assert [r[0] for r in rows[1:]] == [r.name for r in view.reports]
        assert rows[1][2:] == [
            "0.60 [0.58, 0.62]", "2.00 [1.95, 2.05]", "0.60 [0.58, 0.62]", "2.50 [2.30, 2.70]", "1.10 [1.09, 1.11]",
        ]  # fmt: skip

    def test_one_checkpoint_of_many(self, view: View) -> None:
        rows = rows_of(make_table("rollouts", view, "sparse").split("\n\n")[1])
        assert [r[0] for r in rows[1:]] == ["sparse"]
        assert "sparse/pairs.json" in make_table("transfer", view, "sparse")
        with pytest.raises(LamdemoError, match="no reports of 'dense'"):
            make_table("rollouts", view, "dense")
        with pytest.raises(LamdemoError, match="no table 'summary'"):
            make_table("summary", view)

    def test_what_known_actions_were_to_reach(self, view: View) -> None:
        rollouts, plans, loops = (rows_of(make_table(f"control{n}", view)) for n in ("", "plans", "loops"))
        assert [r[0].split(":")[0] for r in rollouts[1:]] == ["car", "fetch"]
        assert rollouts[1][1:3] == ["0.55 [0.53, 0.57]", "yes"]
        assert plans[1][1:5] == ["0.55 [0.53, 0.57]", "yes", "1.30 [1.28, 1.32]", "**no**"]
        assert (plans[1][-1], plans[2][-1]) == ("–", "0.030 of 0.080")
        assert [r[0] for r in loops[1:]] == ["fetch (metres)"] * 9 and "50" in make_table("controlloops", view)
        assert "car 60 of 30 recordings" in make_table("control", view)

    def test_what_a_second_hands_cases_were_to_reach(self, view: View) -> None:
        tables = make_table("secondhand", view).split("\n\n")
        rows, entering = rows_of(tables[0]), rows_of(tables[1])
        assert [r[0] for r in rows[1:]] == ["move", "enter", "pan", "**mean of kinds**"]
        assert [r[2] for r in rows[1:]] == ["0.40", "0.80", "0.25", "0.50"]
        assert [r[3][-1] for r in rows[1:]] == ["✓", "✗", "✗", "✗"]
        assert rows[-1][1] == "12" and [c[-1] for c in rows[-1][-3:]] == ["✓", "✓", "✗"]
        assert entering[1][:4] == ["likeness of what enters at the end", "0.50", "0.38 [0.36, 0.40] ✗", "0.00"]
        assert "12 transfers" in tables[2]

    def test_rows_on_other_data_are_told(self, nine: Path) -> None:
        results = videos(0.5, 2, 1)
        results["clips"]["sha256"] = "of other clips"
        write(nine, "sparse", "sparse", {"videos": results})
        view = View(read_reports(nine), "noisy")
        assert "cannot be compared" in make_table("prediction", view)
        assert "cannot be compared" not in make_table("prediction", view, "sparse")

    def test_links_show_no_folders_of_the_machine(self, tmp_path: Path) -> None:
        assert relative(tmp_path / "a b.json", tmp_path / "docs") == "../a%20b.json"
        assert relative(Path("/somewhere/reports/a.json"), Path("/elsewhere")) == ""
        assert relative(tmp_path / "a.json", tmp_path / "1/2/3/4") == ""

    def test_the_repositorys_own_reports(self) -> None:
        view = View(read_reports(ROOT / "reports"), "noisy", ROOT)
        report = json.loads((ROOT / "reports/noisy/videos.json").read_text())["results"]
        value = report["all"]["one_step"]["moving"]["over_copy"]["model"]["value"]
        mark = marks(view)[0]
        assert mark.measured.startswith(f"{value:.2f} [") and mark.reached is (value <= 0.55)
        assert mark.source == "[noisy/videos.json](reports/noisy/videos.json)"
        assert all(make_table(name, view) for name in TABLES)


class TestSuite:
    """The layout that is read here is the one that the suite writes."""

    @pytest.fixture(scope="class")
    def written(self, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> View:
        folder = tmp_path_factory.mktemp("suite")
        (folder / "clips" / "wild").mkdir(parents=True)
        for i in range(2):
            write_video(folder / f"clips/wild/{i}.mp4", panned(texture(64, 200, i), 36, 1 + i, 64, 64), 4)
        config = SuiteConfig(videos=folder / "clips", max_clips=2)
        pipelines = {"tiny": TransferPipeline.from_pretrained(tiny_checkpoint)}
        run_suite(pipelines, folder / "reports", config, command="lamdemo")
        return View(read_reports(folder / "reports"), "tiny", folder)

    def test_every_part_is_understood(self, written: View) -> None:
        (one,) = written.reports
        assert set(one.results) == set(PARTS) and one.family == TINY.bottleneck.family
        # Those of reports that the suite does not write are left out.
        for name in TABLES.keys() - {
            "priors",
            "secondhands",
            "controlplans",
            "controlloops",
            "labelcurve",
            *OTHER_PARTS,
        }:
            made = make_table(name, written)
            assert "Not measured" not in made and re.search(r"\d\.\d", made), name
        unmeasured = [m.what for m in marks(written) if m.measured == NOT_MEASURED]
        # There is one family here, and no clip whose commands are known.
        assert all(re.search("sparse|discrete|steering", what) for what in unmeasured), unmeasured

    def test_every_plot_is_drawn(self, written: View) -> None:
        assert set(make_plots(written)) >= set(PLOTS) - {"capacity", "labelcurve"}


class TestMarks:
    def found(self, view: View, words: str) -> Any:
        (mark,) = [m for m in marks(view) if words in m.what]
        return mark

    def test_reached_or_not(self, view: View) -> None:
        assert self.found(view, "one-step error over copying").reached is True
        assert self.found(view, "leakage, sparse").reached is True
        assert self.found(view, "leakage, discrete").reached is False
        assert self.found(view, "over copied optical flow").reached is True
        assert self.found(view, "steering").measured == "0.97 [0.95, 0.99] (nav, across)"
        assert self.found(view, "sharpness after 16 steps of transfers").reached is True
        assert "| **no** |" in make_table("targets", view)

    def test_rounding_hides_no_miss(self, nine: Path) -> None:
        write(nine, "noisy", "noisy", {"videos": videos(0.5504, 1.998, 1.1)})
        view = View(read_reports(nine), "noisy")
        one, leak = self.found(view, "one-step error over copying"), self.found(view, "leakage, noisy")
        assert one.reached is False and one.measured.startswith("0.5504 ")
        assert leak.reached is False and leak.measured.startswith("1.998 ")

    def test_ahead_only_where_intervals_are_apart(self, nine: Path) -> None:
        view = View(read_reports(nine), "noisy")
        ahead = self.found(view, "noisy ahead of discrete")
        assert ahead.reached is True and "(noisy-high)" in ahead.measured and "(discrete-high)" in ahead.measured
        write(nine, "discrete-high", "discrete", {"videos": videos(0.51, 2.5, 1.1)})
        close = self.found(View(read_reports(nine), "noisy"), "noisy ahead of discrete")
        assert close.reached is False

    def test_ahead_at_equal_training(self, view: View) -> None:
        for r in view.reports:
            longer = r.name == "noisy-high"
            object.__setattr__(r, "training", (100, 10, 50 if longer else None))
        ahead = self.found(view, "noisy ahead of discrete")
        assert "(noisy)" in ahead.measured and "not equally" not in ahead.measured

    def test_nothing_is_made_up(self, tmp_path: Path) -> None:
        write(tmp_path, "noisy", "noisy", {"videos": {}})
        found = marks(View(read_reports(tmp_path), "noisy"))
        assert len(found) == 16
        assert all(m.measured == NOT_MEASURED and m.reached is None and not m.source for m in found)


class TestCommitted:
    """What stands in the repository is what its reports say, byte for byte, and needs no network."""

    MODELS = ("discrete", "disentangled", "layers", "noisy", "residual", "sparse")
    CARDS = ("README.md", "docs/guide.md", *(f"checkpoints/{name}/README.md" for name in MODELS))

    @pytest.mark.parametrize("card", CARDS)
    def test_marked_places(self, card: str) -> None:
        found = read_reports(ROOT / "reports", ROOT / "checkpoints")
        assert fill_card(ROOT / card, found, chosen_of(found)) == (ROOT / card).read_text(encoding="utf-8")

    def test_results(self, tmp_path: Path) -> None:
        found = read_reports(ROOT / "reports", ROOT / "checkpoints")
        folder = ROOT / "docs/results"
        write_results(found, chosen_of(found), tmp_path, folder, png=False)
        assert results_text(found, chosen_of(found), folder, pictures=True) == (folder / PAGE).read_text("utf-8")
        for page in tmp_path.glob("*.html"):
            assert page.read_bytes() == (folder / page.name).read_bytes()
            assert f'src="{page.stem}.png"' in page.read_text("utf-8") and (folder / f"{page.stem}.png").is_file()


class TestFilling:
    TEXT = "# A\n\n<!-- lamdemo:{0} -->typed<!-- /lamdemo:{1} -->\n\nend\n"

    def test_in_place_and_again(self, view: View) -> None:
        once = fill(self.TEXT.format("latents", "latents"), view, "README.md")
        assert once.startswith("# A\n\n<!-- lamdemo:latents -->\n\n| checkpoint") and "typed" not in once
        assert once.endswith("<!-- /lamdemo:latents -->\n\nend\n")
        assert fill(once, view, "README.md") == once

    def test_neighbours_stand_beside_the_families(self, view: View) -> None:
        by_kind = rows_of(make_table("secondhands", view).split("\n\n")[0])
        assert by_kind[0][2:4] == ["mean of kinds", "move"] and len(by_kind) == 1 + 9 + 2
        look = rows_of(make_table("content", view).split("\n\n")[0])
        assert "0.10" in look[1][2] and len(look) == 10
        drawn = rows_of(make_table("futures", view).split("\n\n")[0])
        assert drawn[0][4] == "best" and drawn[1][4].startswith("0.98") and drawn[1][3].startswith("1.05")

    def test_of_a_named_checkpoint(self, view: View) -> None:
        made = fill(self.TEXT.format("pictures sparse-low", "pictures"), view, "README.md")
        assert "sparse-low/pairs.json" in made

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("no marks", r"README\.md has no marked place"),
            ("<!-- lamdemo:latents -->", "is not closed"),
            ("<!-- /lamdemo:latents -->", "stands where it cannot"),
            (TEXT.format("latents", "probes"), "stands where it cannot"),
            (TEXT.format("summary", "summary"), "no table 'summary'"),
            (TEXT.format("latents dense", "latents"), "no reports of 'dense'"),
        ],
    )
    def test_refused(self, view: View, text: str, words: str) -> None:
        with pytest.raises(LamdemoError, match=words):
            fill(text, view, "README.md")


class TestPlots:
    def test_all_are_drawn(self, view: View) -> None:
        figures = make_plots(view)
        assert list(figures) == list(PLOTS)
        for figure in figures.values():
            assert figure.layout.title.text and figure.layout.yaxis.title.text

    def test_capacity_holds_the_figures(self, view: View) -> None:
        figure = make_plots(view)["capacity"]
        first = {t.name: t for t in figure.data if t.xaxis in (None, "x")}
        assert list(first) == list(FAMILIES) and all(t.line.color == COLOURS[n] for n, t in first.items())
        np.testing.assert_allclose(first["noisy"].x, [4, 12, 36])
        np.testing.assert_allclose(first["noisy"].y, [0.6, 0.55, 0.5])
        # Of two parts alike, the interval is narrower by the root of two.
        np.testing.assert_allclose(first["noisy"].error_y.array, 0.02 / math.sqrt(2))
        second = {t.name for t in figure.data if t.xaxis == "x2"}
        assert second == {"noisy", "discrete"}  # nothing bounds what a sparse latent says
        assert [s.y0 for s in figure.layout.shapes] == [1, 1]

    def test_bars_beyond_the_edge_are_written(self, view: View) -> None:
        figure = make_plots(view)["transfer"]
        (beyond,) = [t for t in figure.data if t.name == "another’s action (noisy)"]
        assert set(beyond.text) == {"3.0"} and max(beyond.y) == figure.layout.yaxis.range[1]
        assert {t.name for t in figure.data if t.type == "bar"} == set(FAMILIES)

    def test_nothing_to_draw(self, tmp_path: Path) -> None:
        write(tmp_path, "noisy", "noisy", {p: {} for p in every_part("noisy", 1, 1)})
        assert make_plots(View(read_reports(tmp_path), "noisy")) == {}

    def test_pages_need_no_network(self, view: View, tmp_path: Path) -> None:
        figures = make_plots(view)
        assert write_plots(figures, tmp_path, png=False) == ""
        assert {p.name for p in tmp_path.glob("*.*")} == {"plotly.min.js", *(f"{n}.html" for n in figures)}
        for page in tmp_path.glob("*.html"):
            sources = re.findall(r'(?:src|href)="([^"]*)"', page.read_text())
            assert sources == ["plotly.min.js", f"{page.stem}.png"]

    def test_without_kaleido(self, view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(drawing, "find_spec", lambda name: None)
        why = write_plots({"use": make_plots(view)["use"]}, tmp_path)
        assert "kaleido is not installed" in why and (tmp_path / "use.html").is_file()

    def test_pictures(self, view: View, tmp_path: Path) -> None:
        pytest.importorskip("kaleido")
        why = write_plots({"leakage": make_plots(view)["leakage"]}, tmp_path)
        if "no Chrome" in why or "did not answer" in why:
            pytest.skip(why)  # of a machine without a browser, or too busy for one
        assert why == ""
        assert read_image(tmp_path / "leakage.png", max_side=None).shape == (1120, 2000, 3)

    @pytest.mark.parametrize(
        ("script", "words"),
        [
            ("import sys; sys.exit(3)", "no Chrome or Chromium was found"),
            ("import sys; sys.exit(1)", "the browser failed"),
            ("import time; time.sleep(60)", "did not answer"),
            ("pass", "the browser failed"),
        ],
    )
    def test_without_a_browser(
        self, view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
    ) -> None:
        pytest.importorskip("kaleido")
        monkeypatch.setattr(drawing, "_DRAW", script)
        monkeypatch.setattr(drawing, "_LONGEST", 2.0 if "sleep" in script else 60.0)
        (tmp_path / "use.png").write_bytes(b"half")
        figures = {name: make_plots(view)[name] for name in ("use", "leakage")}
        assert words in write_plots(figures, tmp_path)
        assert not (tmp_path / "use.png").exists() and (tmp_path / "use.html").is_file()


class TestCommand:
    def test_everything(self, nine: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
        readme = tmp_path / "README.md"
        readme.write_bytes(b"<!-- lamdemo:targets --><!-- /lamdemo:targets -->\r\nend\r\n")
        code, out, err = run("report", nine, "--out", tmp_path / "results", "--no-png", "--readme", readme)
        assert (code, err) == (0, "") and out.split() == [str(tmp_path / "results/results.md"), str(readme)]
        page = (tmp_path / "results" / "results.md").read_text()
        for link in re.findall(r"\]\(([^)]+)\)", page):
            assert (tmp_path / "results" / link).is_file()
        assert NOT_MEASURED not in page.lower() and str(tmp_path) not in page
        assert "](reports/noisy/videos.json)" in readme.read_text()
        assert readme.read_bytes().endswith(b"\r\nend\r\n")

    def test_nothing_is_written_where_something_is_wrong(
        self, nine: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
    ) -> None:
        good, bad = tmp_path / "good.md", tmp_path / "bad.md"
        good.write_text("<!-- lamdemo:targets --><!-- /lamdemo:targets -->")
        bad.write_text("nothing")
        code, _, err = run("report", nine, "--out", tmp_path / "results", "--readme", good, "--readme", bad)
        assert code == 2 and "bad.md has no marked place" in err and err.count("\n") == 1
        assert "|" not in good.read_text() and not (tmp_path / "results").exists()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((), "nothing to write"),
            (("--readme", "missing.md"), "missing.md cannot be read"),
            (("--out", "results", "--checkpoint", "dense"), "no reports of 'dense'"),
            (("--out", "results", "--checkpoints", "missing"), "no folder missing"),
        ],
    )
    def test_refused(
        self,
        nine: Path,
        monkeypatch: pytest.MonkeyPatch,
        run: Callable[..., tuple[int, str, str]],
        arguments: tuple[str, ...],
        words: str,
    ) -> None:
        monkeypatch.chdir(nine.parent)
        code, _, err = run("report", "reports", *arguments)
        assert code == 2 and words in err and err.count("\n") == 1
