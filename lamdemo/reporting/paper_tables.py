"""Tables of the paper's evaluation: prediction, transfers, capacity, probes, locality, entering and long rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lamdemo.reporting.reports import CLIPS, SETTINGS, WHOLE, Figure, Reports, keys_of, prediction, probed
from lamdemo.reporting.table import (
    METHODS,
    Block,
    Cell,
    Column,
    Comparison,
    OfOne,
    Reference,
    Row,
    counted,
    grid,
    said,
)
from lamdemo.reporting.view import View, nothing

HORIZONS = ("1", "2", "4", "8", "16", "32")
KINDS = ("pan", "zoom", "roll", "move", "turn", "grow", "enter", "leave", "both")
SCENES = ("pan", "zoom", "roll", "move")
COMMANDS = ("steering", "throttle", "translation", "rotation", "travel", "gripper", "joints")

# Prediction.


def _predicted(measure: str) -> Column:
    heads = {
        "one_step": "one step, moving half",
        "shuffled": "shuffled over inferred",
        "eight_step": "mean of 8 steps",
    }
    return Column(heads.get(measure, measure), lambda row: prediction(row.reports, measure, row.words["clips"]))


_PREDICTED = ("one_step", "shuffled", "eight_step", "leakage", "cycle")


def _kinds_of_clips(found: Sequence[Reports]) -> tuple[Block, ...]:
    there = [c for c in (WHOLE, *CLIPS) if any(prediction(r, m, c) for r in found for m in _PREDICTED)]
    return tuple(Block(clips[0].upper() + clips[1:], {"clips": clips}) for clips in there)


prediction_table = Comparison(
    "videos",
    tuple(map(_predicted, _PREDICTED)),
    "Errors are of states, over those of copying the last frame (1: no better than a still picture). Leakage: error at "
    "a scene cut over that without (high: the latent cannot hold the new scene). Cycle: error with latents that went "
    "to another clip and back, over that with its own (1: nothing is lost). 95% intervals over recordings.",
    _kinds_of_clips,
)


def _baselines(one: Reports) -> tuple[str, str]:
    def over_copy(step: str) -> Column:
        heads = {
            "one_step/moving": "one step, moving half",
            "one_step/still": "one step, still half",
            "eight_step/mean": "mean of 8 steps",
        }
        # Copying is what all are over.
        at = f"videos/all/{step}/over_copy/{{method}}"
        return Column(heads[step], lambda r: "1" if r.words["method"] == "copy" else one.figure(at.format(**r.words)))

    rows = [
        Row((METHODS[method] if method != "copied_flow" else "flow of the step before",), one, {"method": method})
        for method in ("model", "copy", "zero", "shuffled", "copied_flow", "own_flow")
    ]
    columns = [over_copy(step) for step in ("one_step/moving", "one_step/still", "eight_step/mean")]
    note = "¹ Has seen the next frame, as the latent has; the flow of the step before has not."
    return grid(["state error over copying"], rows, columns), note


baselines_table = OfOne("videos", _baselines)

# Transfers whose truth is known.


def kinds_of(reports: Sequence[Reports]) -> list[str]:
    """Kinds of action that any of these has transfers of, known ones first."""
    there = {k for r in reports for k in keys_of(r.dig("pairs/kinds"))}
    return [k for k in KINDS if k in there] + sorted(there - set(KINDS))


def _transfer(one: Reports) -> tuple[str, str]:
    places = {"all": "pairs/all", **{k: f"pairs/kinds/{k}" for k in kinds_of([one])}}
    rows = [Row((kind,), one, {"at": at}) for kind, at in places.items()]
    columns = [Column("cases", lambda row: counted(one.number(f"{row.words['at']}/cases")))]
    columns += [
        Column(METHODS[m], f"{{at}}/motion_over_copy/{m}")
        for m in ("model", "zero", "shuffled", "copied_flow", "true_flow")
    ]
    medians = [one.number(f"pairs/all/motion_over_copy/{m}/median") for m in ("model", "copied_flow")]
    note = "¹ The truth’s own flow laid on the target: the floor of this measure."
    if None not in medians:
        note += (
            " Ratios are of sums over cases, in which large motions weigh most; the median of the cases’ own ratios is "
            f"{said(medians[0])} (copied flow: {said(medians[1])})."
        )
    return grid(["motion error over copying"], rows, columns), note


transfer_table = OfOne("pairs", _transfer)

transfers_table = Comparison(
    "pairs",
    lambda found: (
        Column("all", "pairs/all/motion_over_copy/{method}"),
        *(Column(k, f"pairs/kinds/{k}/motion_over_copy/{{method}}/value") for k in kinds_of(found)),
    ),
    "Motion error over copying. ¹ The truth’s own flow laid on the target: the floor of this measure.",
    (Block(references=(Reference("copied_flow"), Reference("true_flow"))),),
)


def _pictures(one: Reports) -> tuple[str, str]:
    methods = ("model", "copy", "zero", "shuffled", "copied_flow", "true_flow")
    measured = {"psnr": ("PSNR, dB", 1), "ssim": ("SSIM", 3), "perceptual": ("feature distance", 4)}
    rows = [
        Row((words,), one, {"at": "pairs/all/methods/{}/" + measure, "digits": str(digits)})
        for measure, (words, digits) in measured.items()
    ]
    # Of sharpness there is more in a report than is shown.
    rows.append(Row(("sharpness, of the target’s",), one, {"at": "pairs/all/sharpness/{}", "digits": "2"}))

    def measure(method: str, row: Row) -> Cell:
        if "sharpness" in row.words["at"] and method not in ("model", "copied_flow"):
            return None
        return said(one.number(row.words["at"].format(method)), int(row.words["digits"]))

    what = one.dig("pairs/settings/perceptual_is")
    note = f"The distance is {what}. " if isinstance(what, str) else ""
    columns = [Column(METHODS[m], partial(measure, m)) for m in methods]
    return grid(["pictures of transfers"], rows, columns), note + "¹ The truth’s own flow laid on the target."


pictures_table = OfOne("pairs", _pictures)

# Probes.

_SETTING_WORDS = {
    "across": "fitted on training recordings",
    "within": "fitted on other recordings of the same part",
    "within_train": "fitted and judged on training recordings, never on the same ones",
}


def commands_of(found: Sequence[Reports]) -> dict[str, str]:
    """Commands that were probed, and of the first report that has one, on what."""
    on = {c: next((p[1] for r in found if (p := probed(r, c))), "") for c in COMMANDS}
    return {c: where for c, where in on.items() if where}


def _probed(command: str, row: Row) -> Figure | None:
    found = probed(row.reports, command)
    return found[0] if found else None


def _probed_of_all(found: Sequence[Reports]) -> Comparison:
    commands = commands_of(found)
    note = "R² of a linear map from z; 0: no better than the mean, 1: all of it."
    if commands:
        note += " " + "; ".join(f"{c}: {on}" for c, on in commands.items()) + "."
    columns = [Column(t, f"probes/scenes/targets/{t}/z/linear") for t in SCENES]
    columns += [Column(c, partial(_probed, c)) for c in commands]
    return Comparison("probes", tuple(columns), note)


def _probed_of_one(one: Reports) -> tuple[str, str]:
    columns = [
        Column("action", lambda row: row.words["target"]),
        Column("**z**, linear", "{at}/z/linear"),
        Column("**z**, MLP", "{at}/z/mlp"),
        Column("chance", "{at}/z_shuffled/linear"),
        Column("features, linear", "{at}/difference/linear"),
        Column("features, MLP", "{at}/difference/mlp"),
        Column("pooled features, linear", "{at}/pooled/linear"),
    ]
    clips = sorted(keys_of(one.dig("probes/clips")))
    judged = [(name, s) for name in clips for s in SETTINGS if one.dig(f"probes/clips/{name}/{s}") is not None]
    places = {"scenes": "scenes", **{f"{name}, {s}": f"clips/{name}/{s}" for name, s in judged}}
    rows = [
        Row((words,), one, {"target": target, "at": f"probes/{at}/targets/{target}"})
        for words, at in places.items()
        for target in keys_of(one.dig(f"probes/{at}/targets"))
    ]
    note = (
        f"R² of probes on z of {one.name}, on recordings (and photographs) that the probe was not fitted on. Chance: z "
        "with the training side’s targets shuffled. Features: change of the encoder’s features, leading components."
    )
    note += "".join(f" *{s}*: {_SETTING_WORDS[s]}." for s in SETTINGS if s in {s for _, s in judged})
    return grid(["clips"], rows, columns), note


def probes_table(view: View) -> str:
    """What can be read from z, a row a checkpoint; then everything that was probed of one."""
    found = view.having("probes")
    if not found:
        return nothing(view, "probes")
    one = view.one if view.one in found else found[0]
    assert one is not None
    blocks = [_probed_of_all(found)(view)] if len(found) > 1 else []
    return "\n\n".join([*blocks, OfOne("probes", _probed_of_one).about(view, one)])


# Locality and entering.


def _shares(name: str, head: str, chance: str = "") -> Column:
    return Column(head, f"locality/targets/{{target}}/{{method}}/{name}", elsewhere={"chance": chance or "-"})


_JUDGED = "locality/targets/{target}/{method}"
_MOVED = (Reference("shuffled", where=_JUDGED, named=True), Reference("copied_flow", where=_JUDGED))
_AREA = Reference("chance", "share of the area")

locality_table = Comparison(
    "locality",
    (
        _shares("moved", "in the right thing", "locality/chance/moved"),
        _shares("other", "in the other", "locality/chance/other"),
        _shares("elsewhere", "elsewhere", "locality/chance/elsewhere"),
        _shares("right", "right thing moves more"),
        _shares("amount", "amount"),
    ),
    "Shares of the optical flow of the result, with 95% intervals over layouts; masks are grown by a few pixels, since "
    "flow is smooth across edges. Amount: all motion over the truth’s.",
    (
        Block(
            "Transferred onto two things",
            {"target": "things"},
            (*_MOVED, Reference("truth", where=_JUDGED), _AREA),
        ),
        Block("Transferred onto a plain background (control)", {"target": "plain"}, (*_MOVED, _AREA)),
    ),
)


def _entered(path: str, head: str) -> Column:
    return Column(head, f"entering/methods/{{method}}/perceptual/{path}")


def _about_entering(first: Reports) -> str:
    note = (
        "AUC: the chance that change at the truth’s place is larger when the thing enters than when nothing happens, "
        "the camera pans or another’s thing enters (0.5: chance). Shares of the cases; intervals over cases. Change is "
        "measured in the frozen encoder’s features."
    )
    near = first.number("entering/settings/near")
    return note if near is None else f"{note} Right place: within {near:g} picture widths."


entering_table = Comparison(
    "entering",
    (
        _entered("auc/all", "AUC, all controls"),
        _entered("auc/shuffled", "AUC, another’s thing"),
        _entered("shown", "something shows"),
        _entered("right_place", "at the right place"),
        _entered("place_error", "place error, widths"),
        _entered("time_error", "late by, steps"),
    ),
    _about_entering,
    (Block(references=tuple(Reference(m, where="entering/methods/{method}") for m in ("copied_flow", "truth"))),),
)

# Capacity.


def _codes_used(row: Row) -> str:
    codes, used = (row.reports.number(f"latents/all/dimensions/{k}") for k in ("codes", "codes_used"))
    return "–" if codes is None else f"{said(used, 0)} of {said(codes, 0)}"


latents_table = Comparison(
    "latents",
    (
        Column("effective nats", "latents/channel/effective_nats", 1),
        Column("own measure, nats", "latents/all/information/nats", 1),
        Column("active channels", "latents/all/dimensions/active", 1),
        Column("participation", "latents/all/dimensions/participation", 1),
        Column("codes used", _codes_used),
        Column("perplexity", "latents/all/dimensions/perplexity", 1),
        Column("samples: nearest ²", "latents/all/samples/nearest/ratio"),
        Column("samples: energy ³", "latents/all/samples/energy/share"),
        Column("one step in the wild", lambda row: prediction(row.reports, "one_step", "in-the-wild")),
    ),
    "Effective nats: the rate of the coarsest description of z that costs 2% of what z gains, one measure for all "
    "families. Own measure: KL of the posterior (noisy), entropy of code use (discrete); sparse and "
    "residual latents have none. "
    "² Distance of a draw from the prior to the nearest inferred latent, over that between recordings (1: cannot "
    "be told apart). ³ Share of the energy distance (0: one distribution). Residual latents have no prior to draw "
    "from.",
)

# Long rollouts.


def _rolled_out(found: Sequence[Reports]) -> tuple[Block, ...]:
    blocks = [Block("State error over copying", {"at": "state/intervals"})]
    if any(r.dig("rollouts/all/pictures") for r in found):
        what = found[0].dig("rollouts/perceptual_is")
        named = f" ({what})" if isinstance(what, str) else ""
        blocks.append(Block("Sharpness, of the first frame’s", {"at": "pictures/sharpness"}, (Reference("truth"),)))
        blocks.append(Block("Perceptual distance over copying", {"at": "pictures/perceptual_over_copy"}, aside=named))
    return tuple(blocks)


rollouts_table = Comparison(
    "rollouts",
    tuple(Column(f"{h} step{'s' if h != '1' else ''}", f"rollouts/all/{{at}}/{{method}}/{h}") for h in HORIZONS),
    "Rollouts from one frame, 95% intervals.",
    _rolled_out,
)
