"""Adaptation to one clip: what reads its latents and what draws its pictures, tuned on it within a minute.

The paper names fine-tuning to a domain as future work (section 6). Here the domain is one clip, split in time:

=========  ================================================================================================
training   the first steps; the only ones that have a gradient
watched    those after them; of the moving averages that are tried, the one that does best on them is kept, and
           none where none does better than the model as it was
held out   the last ones; they are measured before and after, and nothing is chosen by them
=========  ================================================================================================

Between two parts lies one step of neither, so that no frame is shared. Encoder, transformer, matte and painter stay
as they are, and so does the map from ``z`` to the transformer: a latent still says the same to it. What is tuned is
named in `TUNED`.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import Inference, TransferPipeline
from lamdemo.models import LatentActionModel
from lamdemo.models.warp import photometric_errors, warp
from lamdemo.models.world_model import Prediction
from lamdemo.training.drawing_losses import composed
from lamdemo.training.loop import Loop, LoopConfig
from lamdemo.training.motion_losses import motion_losses
from lamdemo.training.objective import LossConfig
from lamdemo.training.one_step import Errors, Stretch, look_at, measure_one_step

FEWEST, MOST = 12, 160  # steps of a clip
STILL = 0.002  # mean change of a picture in a step, in [0, 1], under which nothing can be learned from it
TUNED = (
    # The latents' head: the last layers of inverse dynamics, and the bottleneck's mean.
    *("inverse_dynamics.squeeze.", "inverse_dynamics.leave.", "inverse_dynamics.reader.leave.", "bottleneck.read."),
    # The heads of the world model, behind its transformer: how it moves a state and mends it.
    *("world_model.motion.", "world_model.mend.", "world_model.mend_layers.", "world_model.layers."),
    # The decoder without the sharp matte, and without the look at the picture that it shares with the matte.
    *("decoder.enter.", "decoder.enter_layers.", "decoder.join.", "decoder.refine.", "decoder.leave."),
)
"""Beginnings of the names of the parameters that are tuned."""
_READ_EVERY, _DRAW_EVERY = 4, 2  # steps of which one tunes the latents' head, or the decoder, too


@dataclasses.dataclass(frozen=True)
class AdaptationConfig:
    """How a model is adapted to a clip."""

    seconds: float = 60.0  # of computing altogether, encoding and measuring included
    steps: int | None = None  # of training in the place of seconds, which is the same on every machine
    held_out: float = 0.25  # share of the clip's steps that is held out
    watched: float = 0.2  # share of the others by which what is kept is chosen
    learning_rate: float = 1e-3  # at its peak
    windows: int = 2  # stretches of the clip in a batch
    looks: int = 6  # how often the watched steps are looked at
    keep: float = 0.1  # weight of the distance of latents from those of the model as it was, over their length
    seed: int = 0  # of what is drawn

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 0.6 or not 0 < self.watched < 0.6:
            raise LamdemoError("The shares of a clip that are held out and watched lie between 0 and 0.6.")
        if self.seconds <= 0 or (self.steps is not None and self.steps < 1):
            raise LamdemoError("Adapting takes some time; give more than 0 seconds or steps.")


@dataclasses.dataclass(frozen=True)
class Parts:
    """How many steps of a clip are for what; one between two parts is for nothing."""

    training: int
    watched: int
    held_out: int

    @classmethod
    def of(cls, steps: int, config: AdaptationConfig) -> Parts:
        """Those of a clip of so many steps."""
        held_out = max(round(config.held_out * steps), 2)
        watched = max(round(config.watched * (steps - held_out)), 2)
        return cls(steps - held_out - watched - 2, watched, held_out)

    def frames(self) -> dict[str, slice]:
        """The frames of each part."""
        second = self.training + 1
        third = second + self.watched + 1
        ends = {"training": (0, second), "watched": (second, third), "held_out": (third, third + self.held_out + 1)}
        return {name: slice(*of) for name, of in ends.items()}


@dataclasses.dataclass(frozen=True)
class Adapting:
    """News of an adaptation under way."""

    share: float  # of the budget that is used, 0 to 1
    seconds: float  # computed so far
    steps: int  # of training done
    loss: float | None = None  # of the last of them


@dataclasses.dataclass(frozen=True)
class Adapted:
    """What an adaptation came to."""

    delta: Mapping[str, Tensor]  # the tensors that are other than before, by name; none where nothing did better
    before: Errors  # on the held-out steps
    after: Errors  # the same
    watched: tuple[float, float]  # what was chosen by, see `_Tuning.look`, before and after
    parts: Parts  # of the clip, in steps
    steps: int  # of training done
    kept: int  # after how many of them the tensors were taken; 0 for those of the model as it was
    seconds: float  # computed
    stopped: bool  # whether it was stopped before its end
    base: str  # hash of the checkpoint that was adapted

    @property
    def fall(self) -> float:
        """By which share the one-step error of states on the held-out steps fell."""
        return 1 - self.after.state / self.before.state

    @property
    def picture_fall(self) -> float:
        """The same of pictures."""
        return 1 - self.after.picture / self.before.picture

    @property
    def bytes(self) -> int:
        """Of memory that the delta takes."""
        return sum(t.numel() * t.element_size() for t in self.delta.values())

    def figures(self) -> dict[str, object]:
        """For reports."""
        return {
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "state_fall": self.fall,
            "picture_fall": self.picture_fall,
            "watched": {"before": self.watched[0], "after": self.watched[1]},
            "clip_steps": dataclasses.asdict(self.parts),
            "training_steps": self.steps,
            "kept_after": self.kept,
            "seconds": self.seconds,
            "stopped": self.stopped,
        }

    def pipeline(self, base: TransferPipeline) -> TransferPipeline:
        """The adapted model, which shares with ``base`` all tensors but those of the delta; ``base`` stays as it was.

        It brings no controllers, no sample of latents and no rule for verdicts: those were made with other weights.

        Args:
            base: that was adapted.

        Raises:
            LamdemoError: it is of other weights.
        """
        if base.checkpoint != self.base:
            raise LamdemoError("What was adapted is another checkpoint; adapt this one anew.")
        model = _sharing(base.model, self.delta.keys())
        with torch.no_grad():
            for name, tensor in self.delta.items():
                model.get_parameter(name).copy_(tensor)
        digest = hashlib.sha256(base.checkpoint.encode())
        for name, tensor in sorted(self.delta.items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().numpy().tobytes())
        name = f"{base.name}, adapted"
        return TransferPipeline(model, name=name, checkpoint=digest.hexdigest(), trained=base.trained)


def tuned_names(model: nn.Module) -> list[str]:
    """The parameters of a model that are tuned."""
    return [name for name, _ in model.named_parameters() if name.startswith(TUNED)]


def _sharing(model: LatentActionModel, own: object) -> LatentActionModel:
    """A copy of a model with parameters of its own by those names; all other tensors are the model's."""
    names = set(own)  # type: ignore[call-overload]
    memo: dict[int, object] = {id(b): b for b in model.buffers()}
    for name, parameter in model.named_parameters():
        data = parameter.detach().clone() if name in names else parameter.detach()
        memo[id(parameter)] = nn.Parameter(data, requires_grad=name in names)
    return copy.deepcopy(model, memo)


class _Example(NamedTuple):
    """A way of seeing the training part (as it is, mirrored, backwards), with what the model as it was says of it."""

    clip: Stretch
    latents: Tensor  # [S, Z]
    carried: Tensor  # [S, 1, h, w], where the acting layer is by the step before


def adapt(
    pipeline: TransferPipeline,
    frames: np.ndarray,
    config: AdaptationConfig = AdaptationConfig(),
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Adapting | Adapted]:
    """Adapt a model to a clip; what is done between two news takes about a second.

    Args:
        pipeline: with the model, which stays as it is.
        frames: of the clip at the model's rate, uint8 ``[T, H, W, 3]``.
        config: how.
        should_stop: asked all along; what does best until then is kept.

    Yields:
        `Adapting`, and at the end the `Adapted`.

    Raises:
        LamdemoError: the clip is too short, too long or still, or the model is not of full precision.
    """
    _check(pipeline, len(frames) - 1)
    parts = Parts.of(len(frames) - 1, config)
    clock = _Clock(config)
    work = _sharing(pipeline.model, tuned_names(pipeline.model))
    engine = Inference(work)
    pieces: dict[str, Stretch] = {}
    for name, some in parts.frames().items():
        pieces[name] = look_at(engine, frames[some])
        if float(pieces[name].pictures.diff(dim=0).abs().mean()) < STILL:
            raise LamdemoError("Part of this clip is still; choose one in which something happens to its very end.")
        yield clock.news(0)
    before = measure_one_step(engine, pieces["held_out"])
    rest = clock.lap() / 2  # what measuring takes at the end, without the half that is under no action
    yield clock.news(0)
    mirrored = look_at(engine, frames[parts.frames()["training"]][:, :, ::-1])
    examples = []
    for seen in (pieces["training"], mirrored):
        examples += [_example(work, seen), _example(work, Stretch(seen.pictures.flip(0), seen.states.flip(0)))]
        yield clock.news(0)
    tuning = _Tuning(config, engine, examples, pieces["watched"])
    while not clock.over(tuning.step, rest) and not should_stop():
        tuning.share = clock.share(tuning.step, rest)
        loss = tuning.train_step()["loss"]
        tuning.look(clock.share(tuning.step, rest))
        yield clock.news(tuning.step, loss)
    tuning.put(tuning.best)
    work.eval()
    yield Adapted(
        delta=tuning.best if tuning.kept else {},
        before=before,
        after=measure_one_step(engine, pieces["held_out"], zero=False) if tuning.kept else before,
        watched=(1.0, tuning.score),
        parts=parts,
        steps=tuning.step,
        kept=tuning.kept,
        seconds=clock.spent(),
        stopped=not clock.over(tuning.step, rest),
        base=pipeline.checkpoint,
    )


def _check(pipeline: TransferPipeline, steps: int) -> None:
    rate = pipeline.fps
    if steps < FEWEST:
        raise LamdemoError(
            f"This clip has {max(steps, 0)} steps of {1 / rate:g} seconds, and adapting takes {FEWEST}; "
            f"give a clip of {(FEWEST + 1) / rate:g} seconds or more."
        )
    if steps > MOST:
        raise LamdemoError(f"Adapting takes a clip of {MOST / rate:g} seconds at most; give a part of it.")
    if pipeline.model.world_model.tokens.weight.dtype != torch.float32:
        raise LamdemoError("Adapting needs the model in full precision; load it with float32.")


class _Clock:
    """What of the budget is used; the time of whoever is told of news does not count."""

    def __init__(self, config: AdaptationConfig) -> None:
        self.config, self._done, self._since, self._lap = config, 0.0, time.monotonic(), 0.0

    def spent(self) -> float:
        """Seconds computed so far."""
        return self._done + time.monotonic() - self._since

    def lap(self) -> float:
        """Seconds computed since the last news."""
        return time.monotonic() - self._since

    def share(self, step: int, rest: float) -> float:
        """Of the budget that is used, where ``rest`` seconds are needed at its end."""
        if self.config.steps is not None:
            return min(step / self.config.steps, 1.0)
        return min(self.spent() / max(self.config.seconds - rest, 1e-6), 1.0)

    def over(self, step: int, rest: float) -> bool:
        """Whether the budget of training is used up."""
        return self.share(step, rest) >= 1

    def news(self, step: int, loss: float | None = None) -> Adapting:
        """What is told now; the clock goes on once the generator does."""
        self._done = self.spent()
        told = Adapting(self.share(step, 0.0), self._done, step, loss)
        self._since = time.monotonic()
        return told


@torch.no_grad()
def _example(model: LatentActionModel, clip: Stretch) -> _Example:
    latents = model.infer(clip.states[None])
    cache, covers = model.world_model.new_cache(), []
    for t in range(latents.shape[1]):
        g = model.world_model.grid
        covers.append(clip.states.new_zeros(1, 1, 1, g, g) if cache.carried is None else cache.carried)
        model.world_model(clip.states[None, t : t + 1], latents[:, t : t + 1], cache)
    return _Example(clip, latents[0], torch.cat(covers, 1)[0])


class _Tuning(Loop[LatentActionModel, LoopConfig]):
    """The steps of an adaptation.

    Attributes:
        share: of the budget that is used.
        best: the moving average that did best on the watched steps; the parameters as they were where none did better.
        score: what it did there, see `look`.
        kept: after how many steps it was taken.
    """

    def __init__(self, config: AdaptationConfig, engine: Inference, examples: list[_Example], watched: Stretch) -> None:
        self.adaptation, self.engine, self.examples, self.watched = config, engine, examples, watched
        schedule = LoopConfig(
            learning_rate=config.learning_rate, weight_decay=0.0, ema=0.9, bf16=False, seed=config.seed
        )
        self.first = measure_one_step(engine, watched, zero=False)
        super().__init__(schedule, engine.model, engine.model.device)
        self.share, self.score, self.kept = 0.0, 1.0, 0
        self.best = {name: tensor.clone() for name, tensor in self.average.items()}

    def look(self, share: float) -> None:
        """Look at the watched steps where it is time to, and keep the moving average if it does best there.

        What counts are the errors of states and of pictures, each over that of the model as it was: 1 for itself.

        Args:
            share: of the budget that is used.
        """
        if int(share * self.adaptation.looks) == int(self.share * self.adaptation.looks):
            return
        now = {name: p.detach().clone() for name, p in self._trained()}
        self.finish()
        errors = measure_one_step(self.engine, self.watched, zero=False)
        ratios = errors.state / self.first.state, errors.picture / self.first.picture
        # Better predictions are not bought with worse pictures, nor the other way about.
        if max(ratios) <= 1 and sum(ratios) / 2 < self.score:
            self.best = {name: tensor.clone() for name, tensor in self.average.items()}
            self.score, self.kept = sum(ratios) / 2, self.step
        self.put(now)

    def learning_rate(self, step: int) -> float:
        """A short rise; then a cosine over what is left of the budget."""
        fall = 0.1 + 0.45 * (1 + float(np.cos(np.pi * self.share)))
        return self.config.learning_rate * min((step + 1) / 5, 1.0) * fall

    def step_loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """See `Loop.step_loss`: the training loss's terms that a clip without a known truth has."""
        model, weights = self.module, LossConfig()
        generator = torch.Generator(self.device).manual_seed(1_000_003 * self.config.seed + step)
        pictures, states, usual, carried = self._batch(generator)
        b, t = states.shape[:2]
        # The latents' head is far from the loss, behind the transformer: a step without it takes half as long.
        with torch.set_grad_enabled(step % _READ_EVERY == 0):
            evidence = model.evidence(states[:, :-1], states[:, 1:])
            z = model.bottleneck.mean(evidence.forward, evidence.backward).reshape(b, t - 1, -1)
            if model.config.bottleneck.family == "discrete":
                # Straight through, as in training; the codes stay.
                z = z + (model.bottleneck.infer(evidence.forward, evidence.backward).reshape(z.shape) - z).detach()
        spread = weights.noise * torch.rand(b, 1, 1, 1, generator=generator, device=self.device)
        past = states[:, :-1] + spread * torch.randn(states[:, :-1].shape, generator=generator, device=self.device)
        prediction, layers = model.world_model.predict(past, z, carried=carried)
        error = (prediction.states - states[:, 1:]).abs().mean()
        terms, _ = motion_losses(
            pictures, prediction, evidence.displacement, None, balance=weights.balance, layers=layers is not None
        )
        moved = sum(getattr(weights, name) * terms[name] for name in ("motion", "teach", "smooth"))
        apart = (z - usual).square().sum() / usual.square().sum().clamp_min(1e-6)
        loss = error + moved + self.adaptation.keep * apart
        if step % _DRAW_EVERY:  # not where the latents' head is tuned, so that all steps cost about the same
            loss = loss + weights.decoder * _drawing_error(model, pictures, states, prediction, weights, generator)
        return loss, {"state": error.detach()}

    def _batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pictures ``[B, T, 3, H, W]``, states, latents of the model as it was, and the acting layer of windows."""
        span = min(self.module.config.world_model.context, len(self.examples[0].latents))
        rows: list[tuple[Tensor, ...]] = []
        for _ in range(self.adaptation.windows):
            of = int(torch.randint(len(self.examples), (), generator=generator, device=self.device))
            example = self.examples[of]
            last = len(example.latents) - span + 1
            at = int(torch.randint(last, (), generator=generator, device=self.device))
            frames, some = slice(at, at + span + 1), slice(at, at + span)
            rows.append(
                (
                    example.clip.pictures[frames],
                    example.clip.states[frames],
                    example.latents[some],
                    example.carried[some],
                )
            )
        pictures, states, latents, carried = (torch.stack(column) for column in zip(*rows, strict=True))
        return pictures, states, latents, carried


def _drawing_error(
    model: LatentActionModel,
    pictures: Tensor,
    states: Tensor,
    prediction: Prediction,
    weights: LossConfig,
    generator: torch.Generator,
) -> Tensor:
    """Error of the drawn picture of one step of each window, as in `drawing_losses`; the painter is left alone."""
    b, t = pictures.shape[:2]
    step = torch.randint(t - 1, (b,), generator=generator, device=pictures.device)
    rows, side = torch.arange(b, device=pictures.device), model.config.decoder.picture
    large = pictures[rows, step]
    current, goal = F.interpolate(torch.cat([large, pictures[rows, step + 1]]), (side, side), mode="area").chunk(2)
    one = Prediction(*(part[rows, step][:, None].detach() for part in prediction))
    details, paint = None, None
    if model.painter is not None:
        with torch.no_grad():
            details, painted = model.details(large), model.painter(one.states[:, 0].float())
        paint = painted.detach
    rendering, _ = model.decoder(states[rows, step], one, current, details, paint)
    made = composed(rendering, current, painted_over=model.painter is None)
    hidden = (warp(made.matte, made.ground) * (1 - made.cover)).detach() * (model.painter is not None)
    drawn = photometric_errors(made.made + hidden * (goal - made.made), goal).mean()
    return drawn + weights.painting * made.mask.mean()
