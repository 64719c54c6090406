"""Names say what one sees, by exact geometry; directions are found where they were put."""

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY

from lamdemo.core.errors import LamdemoError
from lamdemo.data.scenes import Photographs, Script, draw_cast, render, true_motion
from lamdemo.data.videos import bundled_photographs, photographs_in
from lamdemo.engine import LatentActions, TransferPipeline
from lamdemo.latent_space import discovery
from lamdemo.latent_space.atlas import Atlas, Recording
from lamdemo.latent_space.directions import PLAY, PROBES, Directions, play_set
from lamdemo.latent_space.discovery import DirectionsConfig, active, find_clusters, find_directions
from lamdemo.latent_space.naming import (
    MOTIONS,
    NameBook,
    ReferenceConfig,
    References,
    camera_fields,
    camera_motion,
    forward_flow,
    mean_flow,
    name_flow,
    reference_pictures,
    references,
)
from lamdemo.latent_space.thumbnails import write_sheets
from lamdemo.models import LatentActionModel
from lamdemo.video import optical_flow

Z = TINY.bottleneck.channels


def script(camera: tuple = (0, 0, 0, 0), thing: tuple | None = None, steps: int = 1) -> Script:
    """A camera that moves by ``camera`` a step, and a thing that goes from one place to another."""
    path = np.arange(steps + 1)[:, None] * np.array(camera, float)
    things = np.zeros((0, steps + 1, 4))
    if thing is not None:
        start, change = (np.array(t, float) for t in thing)
        things = (start + np.arange(steps + 1)[:, None] * change)[None]
    return Script("both", path, things)


def seen(camera: tuple = (0, 0, 0, 0), thing: tuple | None = None, seed: int = 0) -> np.ndarray:
    """The forward flow of a scene, known from how it is made: ``[12, 12, 2]``."""
    what = script(camera, thing)
    cast = draw_cast(np.random.default_rng(seed), what, 3)
    return forward_flow(true_motion([what], [cast], 64).flow[:, 0], 12)[0]


def exact(move, height: int = 12, width: int = 12, aspect: float = 1.0) -> np.ndarray:
    """Where ``move`` takes the places of a grid, minus these; both in widths from the middle, y down."""
    x = (np.arange(width) + 0.5) / width - 0.5
    y = ((np.arange(height) + 0.5) / height - 0.5) * aspect
    places = np.stack(np.meshgrid(x, y), -1)
    return move(places) - places


def turned(places: np.ndarray, angle: float) -> np.ndarray:
    """Clockwise, as seen, with y down: what is at the right goes down."""
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * places[..., 0] - s * places[..., 1], s * places[..., 0] + c * places[..., 1]], -1)


class TestCameraNames:
    @pytest.mark.parametrize("aspect", [1.0, 0.5625, 1.5])
    def test_of_exact_motions_of_what_is_seen(self, aspect: float) -> None:
        cases = {
            "camera pans left": lambda p: p + np.array([0.05, 0]),
            "camera pans right": lambda p: p - np.array([0.05, 0]),
            "camera pans up": lambda p: p + np.array([0, 0.05]),
            "camera pans down": lambda p: p - np.array([0, 0.05]),
            "camera pans left and up": lambda p: p + np.array([0.03, 0.04]),
            "zoom in": lambda p: p * 1.1,
            "zoom out": lambda p: p / 1.1,
            "camera rolls counterclockwise": lambda p: turned(p, 0.1),
            "camera rolls clockwise": lambda p: turned(p, -0.1),
        }
        for name, move in cases.items():
            found, score = name_flow(exact(move, 9, 16, aspect), aspect)
            assert found == name
            assert score > 0.99

    def test_of_scenes(self) -> None:
        # The camera's pose is a map from screen to world: x, y, logarithm of the scale, angle (clockwise).
        assert name_flow(seen((0.05, 0, 0, 0)))[0] == "camera pans right"
        assert name_flow(seen((0, -0.04, 0, 0)))[0] == "camera pans up"
        assert name_flow(seen((0, 0, -0.1, 0)))[0] == "zoom in"
        assert name_flow(seen((0, 0, 0.1, 0)))[0] == "zoom out"
        assert name_flow(seen((0, 0, 0, 0.1)))[0] == "camera rolls clockwise"
        assert name_flow(seen((0, 0, 0, -0.1)))[0] == "camera rolls counterclockwise"

    def test_of_two_motions_name_the_larger_first(self) -> None:
        assert name_flow(seen((0.05, 0, -0.1, 0)))[0] == "camera pans right, zooms in"
        assert name_flow(seen((0.025, 0, -0.12, 0)))[0] == "camera zooms in, pans right"
        assert name_flow(seen((0, 0, 0.1, 0.1)))[0].startswith("camera zooms out, rolls clockwise")
        # A tenth of it is not worth a word.
        assert name_flow(seen((0.06, 0.006, 0, 0.01)))[0] == "camera pans right"

    def test_amounts_are_those_of_the_scene(self) -> None:
        for i, pose in enumerate([(0.04, 0, 0, 0), (0, 0.04, 0, 0), (0, 0, -0.05, 0), (0, 0, 0, 0.06)]):
            motion = camera_motion(seen(pose))
            wanted = [0.0] * 4
            wanted[i] = max(pose) if i != 2 else 0.05
            np.testing.assert_allclose(motion.amounts, wanted, atol=0.003)
            assert motion.explained > 0.99
            assert motion.shares[i] > 0.99

    def test_of_pictures_as_they_are_seen(self) -> None:
        """Rendered, and the motion measured by optical flow: nothing but pixels in between."""
        photographs = Photographs(photographs_in(bundled_photographs(), (192, 256))[:6])
        for name, camera in {
            "camera pans left": (-0.03, 0, 0, 0),
            "camera pans down": (0, 0.03, 0, 0),
            "zoom in": (0, 0, -0.06, 0),
            "camera rolls clockwise": (0, 0, 0, 0.06),
        }.items():
            what = script(camera)
            cast = draw_cast(np.random.default_rng(4), what, 6)
            clip = (render([what], [cast], photographs, 192)[0] * 255).round().byte().permute(0, 2, 3, 1).numpy()
            backward = torch.from_numpy(optical_flow(clip[0], clip[1])).permute(2, 0, 1)[None] / 192
            assert name_flow(forward_flow(backward, 12)[0])[0] == name

    def test_the_four_fields_are_orthogonal(self) -> None:
        fields = camera_fields(7, 10, 0.6).reshape(4, -1)
        gram = fields @ fields.T
        np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-9)


class TestNamesOfThings:
    radius = np.log(0.15)

    @pytest.mark.parametrize(
        ("start", "change", "name"),
        [
            ((-0.38, 0), (0.05, 0), "something moves right at the left edge"),
            ((0.36, 0), (-0.05, 0), "something moves left at the right edge"),
            ((0, 0), (0, 0.05), "something moves down in the middle"),
            ((0.3, -0.3), (-0.04, 0), "something moves left in the upper right"),
            ((-0.3, 0.3), (0.03, -0.03), "something moves right and up in the lower left"),
            ((0, -0.36), (0.05, 0), "something moves right at the top"),
            ((0, 0.36), (0, -0.05), "something moves up at the bottom"),
        ],
    )
    def test_moving(self, start: tuple, change: tuple, name: str) -> None:
        found, score = name_flow(seen(thing=((*start, self.radius, 0), (*change, 0, 0))))
        assert found == name
        assert score > 0.6

    def test_turning_and_growing(self) -> None:
        turning = exact(lambda p: p)
        y, x = np.mgrid[4:8, 6:10]
        turning[4:8, 6:10] = np.stack([-(y - 5.5), x - 7.5], -1) * 0.01
        assert name_flow(turning)[0] == "something turns clockwise on the right"
        assert name_flow(-turning)[0] == "something turns counterclockwise on the right"
        growing = np.zeros_like(turning)
        growing[4:8, 4:8] = np.stack([x - 7.5, y - 5.5], -1) * 0.01
        assert name_flow(growing)[0] == "something grows in the middle"
        assert name_flow(-growing)[0] == "something shrinks in the middle"

    def test_nothing_is_claimed_where_nothing_fits(self) -> None:
        rng = np.random.default_rng(0)
        assert name_flow(np.zeros((12, 12, 2))) == ("", 0.0)
        assert name_flow(1e-5 * camera_fields(12, 12)[0]) == ("", 0.0)
        assert name_flow(0.02 * rng.normal(size=(12, 12, 2))) == ("", 0.0)
        # Two things, in opposite corners.
        two = np.zeros((12, 12, 2))
        two[1:3, 1:3] = [0.03, 0]
        two[9:11, 9:11] = [0, 0.03]
        assert name_flow(two) == ("", 0.0)
        assert name_flow(np.full((12, 12, 2), np.nan)) == ("", 0.0)

    @pytest.mark.parametrize("shape", [(12, 12), (12, 12, 3), (2, 12, 2)])
    def test_what_is_no_flow(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="flow"):
            name_flow(np.zeros(shape))


class TestForwardFlow:
    def test_is_where_content_goes(self) -> None:
        # A zoom by a quarter: what is at p goes to 1.25 p. The backward flow says q was at q / 1.25.
        here = torch.from_numpy(exact(lambda p: 2 * p, 64, 64)).permute(2, 0, 1)[None].float()
        forward = forward_flow(here / 1.25 - here, 12)[0]
        expected = 0.25 * exact(lambda p: 2 * p)
        inner = np.s_[2:10, 2:10]
        np.testing.assert_allclose(forward[inner], expected[inner], atol=2e-3)

    def test_units_stay(self) -> None:
        flow = torch.full((3, 2, 16, 16), -0.1)
        np.testing.assert_allclose(forward_flow(flow, 12), 0.1, atol=1e-6)


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


SMALL = ReferenceConfig(pictures=("raccoon.jpg", "dog.jpg"), side=64)


class TestReferences:
    def test_pictures_are_squares_of_the_bundled(self) -> None:
        pictures = reference_pictures(ReferenceConfig())
        assert pictures.shape == (8, 256, 256, 3)
        assert pictures.dtype == np.uint8
        # Texture all over: no quarter of any is flat.
        quarters = pictures.reshape(8, 2, 128, 2, 128, 3).swapaxes(2, 3).reshape(32, -1)
        assert quarters.std(1).min() > 8

    def test_missing_ones_are_told(self, tmp_path: Path) -> None:
        with pytest.raises(LamdemoError, match="reference pictures"):
            reference_pictures(folder=tmp_path)

    def test_flow_is_that_of_one_step_of_the_pipeline(self, pipeline: TransferPipeline) -> None:
        z = np.random.default_rng(0).normal(size=Z).astype(np.float32)
        pictures = reference_pictures(SMALL)
        flows = References(pipeline, pictures).flows(z)
        for picture, flow in zip(pictures, flows, strict=True):
            *_, step = pipeline.stream(LatentActions(z[None], 4.0), picture)
            assert step.flow is not None
            backward = torch.from_numpy(step.flow).permute(2, 0, 1)[None] / 64
            # Blown up to pixels first or last: the same but for what interpolation rounds off.
            expected = forward_flow(backward, 12)[0]
            assert np.abs(flow - expected).mean() < 0.05 * np.abs(expected).mean()
            assert np.abs(flow).max() > 0.01
        np.testing.assert_allclose(mean_flow(pipeline, z, SMALL), flows.mean(0), atol=1e-6)

    def test_content_that_moves_left_is_a_camera_that_pans_right(self) -> None:
        torch.manual_seed(0)
        model = LatentActionModel(TINY)
        with torch.no_grad():
            # In cells of four: what is here was a fifth of a cell further right.
            model.world_model.motion[-1].bias.copy_(torch.tensor([0.2, 0.0]))
        moving = TransferPipeline(model)
        assert name_flow(mean_flow(moving, np.zeros(Z), SMALL))[0] == "camera pans right"
        np.testing.assert_allclose(mean_flow(moving, np.zeros(Z), SMALL)[..., 0], -0.05, atol=1e-3)

    def test_are_kept_as_long_as_the_pipeline(self, pipeline: TransferPipeline) -> None:
        other = TransferPipeline(pipeline.model)
        first = references(other, SMALL)
        assert references(other, SMALL) is first
        assert references(pipeline, SMALL) is not first
        gone = weakref.ref(first)
        del other, first
        gc.collect()
        assert gone() is None

    @pytest.mark.parametrize("z", [np.zeros(Z + 1), np.full(Z, np.inf), np.zeros((1, Z))])
    def test_what_is_no_action(self, pipeline: TransferPipeline, z: np.ndarray) -> None:
        with pytest.raises(LamdemoError, match=f"{Z} finite numbers"):
            mean_flow(pipeline, z, SMALL)


# A space in which everything is known: five orthogonal axes are four motions of the camera and one of a thing.

AXES = np.linalg.qr(np.random.default_rng(7).normal(size=(Z, Z)))[0][:5]
GAINS = np.array([0.02, 0.02, 0.03, 0.04, 0.03])  # how much moves for a latent of size 1
THING = np.zeros((12, 12, 2))
THING[5:8, :2] = [1, 0]
FIELDS = np.concatenate([camera_fields(12, 12), THING[None]])


class KnownWorld:
    """Stands in for `References`; not quite odd, as a world model need not be."""

    def flow(self, z: np.ndarray) -> np.ndarray:
        amounts = GAINS * (AXES @ z)
        amounts = np.where(amounts < 0, 0.9 * amounts, amounts)
        return np.einsum("i,ihwc->hwc", amounts, FIELDS).astype(np.float32)


def known_atlas(pipeline: TransferPipeline, *, scenes: bool = True, seed: int = 0) -> Atlas:
    """80 recordings of 5 steps; each does one of the five things, at its own speed, one way or the other."""
    rng = np.random.default_rng(seed)
    recordings, steps = 80, 5
    what = np.arange(recordings) % 6  # the sixth does nothing
    amount = rng.uniform(0.3, 2, recordings) * rng.choice([-1, 1], recordings)
    motion = np.zeros((recordings, 6))
    motion[np.arange(recordings), what] = amount
    motion = np.repeat(motion[:, :5], steps, 0) * rng.uniform(0.8, 1.2, (recordings * steps, 1))
    latents = motion @ AXES + 0.003 * rng.normal(size=(len(motion), Z))
    frames = np.arange(recordings * steps).reshape(recordings, steps) + np.arange(recordings)[:, None]
    count = len(motion)
    camera = {m: (GAINS * motion)[:, i] for i, m in enumerate(MOTIONS)} if scenes else {}
    blank = [np.zeros((48, 64, 3), np.uint8)] * (int(frames.max()) + 2)
    return Atlas(
        checkpoint=pipeline.checkpoint,
        family=pipeline.family,
        name="tiny",
        latents=latents,
        recording=np.repeat(np.arange(recordings), steps),
        step=np.tile(np.arange(steps), recordings),
        seconds=np.zeros(count),
        frame=frames.reshape(-1),
        recordings=tuple(Recording(f"scene {i}", "scenes", "", 4.0) for i in range(recordings)),
        kinds=(*MOTIONS, "thing", "nothing"),
        kind=np.repeat(what, steps),
        known=camera,
        coordinates={},
        cluster=np.full(count, -1),
        density=np.zeros(count),
        sheets=write_sheets(blank, 50),
    )


CONFIG = DirectionsConfig(principal=6, sparse=5, atoms=8, clusters=11)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(discovery, "references", lambda *_: KnownWorld())


@pytest.fixture(scope="module")
def atlas(pipeline: TransferPipeline) -> Atlas:
    return known_atlas(pipeline)


@pytest.fixture(scope="module")
def found(pipeline: TransferPipeline, atlas: Atlas) -> Directions:
    pytest.importorskip("sklearn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "references", lambda *_: KnownWorld())
        return find_directions(pipeline, atlas, CONFIG)


WORDS = {
    "camera pans right": (0, 1),
    "camera pans left": (0, -1),
    "camera pans down": (1, 1),
    "camera pans up": (1, -1),
    "zoom in": (2, 1),
    "zoom out": (2, -1),
    "camera rolls clockwise": (3, 1),
    "camera rolls counterclockwise": (3, -1),
    "something moves right at the left edge": (4, 1),
    "something moves left at the left edge": (4, -1),
}


@pytest.mark.usefixtures("world")
class TestFinding:
    def test_directions_are_where_they_were_put_and_say_so(self, found: Directions) -> None:
        for kind in ("principal", "sparse"):
            axes = set()
            for d in found:
                if d.kind != kind or d.key == "pc6":
                    continue
                motion, sign = WORDS[d.name]
                axes.add(motion)
                assert sign * float(AXES[motion] @ d.z) > 0.95 * np.linalg.norm(d.z)
                assert WORDS[d.back_name] == (motion, -sign)
            assert axes == set(range(5))

    def test_clusters_are_actions_with_a_sign_and_one_is_still(self, atlas: Atlas, found: Directions) -> None:
        clusters = [d for d in found if d.kind == "cluster"]
        assert {d.name for d in clusters} == {*WORDS, "still"}
        for d in clusters:
            kinds = {atlas.kinds[atlas.kind[i]] for i in d.examples}
            expected = "nothing" if d.name == "still" else (*MOTIONS, "thing")[WORDS[d.name][0]]
            assert kinds == {expected}
        assert sum(d.share for d in clusters) == pytest.approx(1)
        still = next(d for d in clusters if d.name == "still")
        assert still.key == "cluster0"
        assert np.linalg.norm(still.z) < 0.1

    def test_typical_strength_is_that_of_the_steps_that_go_their_way(self, atlas: Atlas, found: Directions) -> None:
        for d in found:
            if d.kind != "probe" and d.key != "pc6" and d.name != "still":
                motion, _ = WORDS[d.name]
                own = atlas.size[atlas.kind == motion]
                assert np.quantile(own, 0.4) < np.linalg.norm(d.z) < np.quantile(own, 0.97)

    def test_examples_are_of_different_recordings_and_alike(self, atlas: Atlas, found: Directions) -> None:
        for d in found:
            assert len(d.examples) <= CONFIG.examples
            owners = atlas.recording[d.examples]
            assert len(set(owners.tolist())) == len(owners)
            if d.key.startswith("sparse"):
                chosen = atlas.latents[d.examples]
                cosine = chosen @ d.z / np.linalg.norm(chosen, axis=1) / np.linalg.norm(d.z)
                assert cosine.min() > 0.9
                assert (np.diff(cosine) <= 1e-6).all()

    def test_the_reverse_is_asked_of_the_model(self, found: Directions) -> None:
        known = KnownWorld()
        for d in found:
            np.testing.assert_array_equal(d.flow, known.flow(d.z))
            np.testing.assert_array_equal(d.back_flow, known.flow(-d.z))
        assert any(np.abs(d.back_flow + d.flow).max() > 1e-3 for d in found)

    def test_probes_move_by_the_amount_asked_for(self, found: Directions) -> None:
        known = KnownWorld()
        for i, key in enumerate(PROBES):
            d = found[key]
            assert d.name == ("camera pans right", "camera pans down", "zoom in", "camera rolls clockwise")[i]
            both = [camera_motion(known.flow(s * d.z)).amounts[i] * s for s in (1, -1)]
            assert np.mean(both) == pytest.approx(CONFIG.amounts[i], rel=1e-3)
            assert float(AXES[i] @ d.z) > 0.99 * np.linalg.norm(d.z)

    def test_the_atlas_own_groups_keep_their_numbers(self, pipeline: TransferPipeline, atlas: Atlas) -> None:
        groups = np.where(atlas.recording < 40, 3, 5)
        given = {name: getattr(atlas, name) for name in Atlas.__dataclass_fields__} | {"cluster": groups}
        keys = {d.key for d in find_directions(pipeline, Atlas(**given), CONFIG) if d.kind == "cluster"}
        assert keys == {"cluster3", "cluster5"}

    def test_the_same_twice(self, pipeline: TransferPipeline, atlas: Atlas, found: Directions) -> None:
        again = find_directions(pipeline, atlas, CONFIG)
        for a, b in zip(found, again, strict=True):
            np.testing.assert_array_equal(a.z, b.z)
            assert (a.key, a.name, a.share) == (b.key, b.name, b.share)

    def test_an_atlas_of_another_checkpoint(self, pipeline: TransferPipeline, atlas: Atlas) -> None:
        given = {name: getattr(atlas, name) for name in Atlas.__dataclass_fields__} | {"checkpoint": "other"}
        with pytest.raises(LamdemoError, match="another checkpoint"):
            find_directions(pipeline, Atlas(**given), CONFIG)

    def test_a_still_atlas_has_a_still_cluster_alone(self, pipeline: TransferPipeline, atlas: Atlas) -> None:
        given = {name: getattr(atlas, name) for name in Atlas.__dataclass_fields__}
        given |= {"latents": np.zeros_like(atlas.latents), "coordinates": {}, "known": {}}
        made = find_directions(pipeline, Atlas(**given), CONFIG)
        assert [(d.key, d.name) for d in made] == [("cluster0", "still")]
        assert play_set(made) == {}


def test_with_a_real_model(pipeline: TransferPipeline, atlas: Atlas) -> None:
    pytest.importorskip("sklearn")
    config = DirectionsConfig(principal=2, sparse=1, atoms=4, clusters=3, reference=SMALL)
    for d in find_directions(pipeline, atlas, config):
        np.testing.assert_array_equal(d.flow, mean_flow(pipeline, d.z, SMALL))
        if d.name != "still":
            assert (d.name, d.score) == name_flow(d.flow)


class TestClusters:
    def test_go_by_direction_not_by_size(self) -> None:
        pytest.importorskip("sklearn")
        rng = np.random.default_rng(0)
        which = rng.integers(0, 4, 300)
        sizes = np.exp(rng.uniform(0, 3, 300))
        latents = sizes[:, None] * (np.eye(4, 8)[which] + 0.03 * rng.normal(size=(300, 8)))
        latents[:30] *= 1e-3
        labels = find_clusters(latents, 5)
        assert (labels[:30] == 0).all()
        assert (labels[30:] > 0).all()
        pairs = {(int(a), int(b)) for a, b in zip(which[30:], labels[30:], strict=True)}
        assert len(pairs) == 4
        counts = np.bincount(labels)[1:]
        assert (np.diff(counts) <= 0).all()

    def test_of_few_codes_are_no_more_than_these(self) -> None:
        pytest.importorskip("sklearn")
        codes = np.concatenate([np.zeros((1, 6)), np.eye(3, 6)])
        latents = codes[np.arange(40) % 4]
        labels = find_clusters(latents, 14)
        assert len(np.unique(labels)) == 4
        for k in range(4):
            assert len(set(labels[k::4].tolist())) == 1
        assert not active(latents)[0::4].any()
        assert (find_clusters(np.zeros((5, 4))) == 0).all()


@pytest.mark.usefixtures("world")
class TestPlaying:
    def test_keys_do_what_they_say(self, found: Directions) -> None:
        known, keys = KnownWorld(), play_set(found)
        assert set(keys) == set(PLAY)
        for key, motion, sign in (
            ("left", "pan_right", -1),
            ("right", "pan_right", 1),
            ("up", "pan_down", -1),
            ("down", "pan_down", 1),
            ("in", "zoom_in", 1),
            ("out", "zoom_in", -1),
            ("turn left", "roll_clockwise", -1),
            ("turn right", "roll_clockwise", 1),
        ):
            moved = camera_motion(known.flow(keys[key].z))
            assert sign * getattr(moved, motion) > 0.03
            assert moved.explained > 0.98
        np.testing.assert_array_equal(keys["left"].z, -keys["right"].z)
        assert keys["left"].id == "-pan-right"

    def test_without_scenes_other_directions_stand_in(self, pipeline: TransferPipeline) -> None:
        made = find_directions(pipeline, known_atlas(pipeline, scenes=False), CONFIG)
        assert not any(d.kind == "probe" for d in made)
        keys = play_set(made)
        assert set(keys) == set(PLAY)
        for key, (motion, sign) in PLAY.items():
            assert WORDS[keys[key].name] == (motion, sign)
        only = Directions(tuple(d for d in made if d.name.startswith("something")))
        assert len(only) > 0
        assert play_set(only) == {}


class TestActionsAndNames:
    def test_every_direction_both_ways(self, found: Directions) -> None:
        actions = found.actions()
        assert len(actions) == 2 * len(found)
        for key, sign, name, z in actions:
            direction = found[key]
            np.testing.assert_array_equal(z, sign * direction.z)
            assert name == (direction.name if sign > 0 else direction.back_name)
        assert len({a.id for a in actions}) == len(actions)
        with pytest.raises(LamdemoError, match="no direction"):
            found["pc99"]

    def test_a_book_goes_before_the_probes(self, found: Directions) -> None:
        book = (
            NameBook("abc").named("pc1", " look  there ").named("-pc1", "look here").named("pc2", "x").named("pc2", "")
        )
        names = found.names(book)
        assert (names["pc1"], names["-pc1"]) == ("look there", "look here")
        assert names["pc2"] == found["pc2"].name
        assert {a.name for a in found.actions(book) if a.key == "pc1"} == {"look there", "look here"}
        np.testing.assert_array_equal(found.flow_of("-pc1"), found["pc1"].back_flow)

    def test_in_a_file_they_are_the_same(self, atlas: Atlas, found: Directions, tmp_path: Path) -> None:
        replace(atlas, directions=found).save(tmp_path / "a.safetensors")
        again = Atlas.load(tmp_path / "a.safetensors").directions
        assert again is not None
        for a, b in zip(found, again, strict=True):
            assert (a.key, a.kind, a.name, a.back_name) == (b.key, b.kind, b.name, b.back_name)
            np.testing.assert_array_equal(a.z, b.z)
            np.testing.assert_array_equal(a.examples, b.examples)
            np.testing.assert_allclose(a.flow, b.flow, atol=1e-4)
            np.testing.assert_allclose([a.score, a.share], [b.score, b.share], atol=1e-4)

    @pytest.mark.parametrize(
        "break_it",
        [
            lambda t, a: t.update(z=t["z"][:-1]),
            lambda t, a: t.update(z=t["z"] * np.nan),
            lambda t, a: t.update(flow=t["flow"][..., :1]),
            lambda t, a: t.update(example_ends=t["example_ends"][::-1].copy()),
            lambda t, a: t.update(examples=t["examples"].astype(float)),
            lambda t, a: t.pop("back_flow"),
            lambda t, a: a["entries"].pop(),
            lambda t, a: a["entries"][0].pop("name"),
            lambda t, a: a["entries"][0].update(kind="sideways"),
            lambda t, a: a["entries"][0].update(name=7),
            lambda t, a: a["entries"][0].update(name="two\nlines"),
            lambda t, a: a["entries"][0].update(score=float("nan")),
            lambda t, a: a["entries"][0].update(key=a["entries"][1]["key"]),
            lambda t, a: a.pop("entries"),
        ],
    )
    def test_what_is_damaged_is_refused(self, found: Directions, break_it) -> None:
        tensors, about = found.to_tensors()
        about = json.loads(json.dumps(about))
        Directions.from_tensors(tensors, about)
        break_it(tensors, about)
        with pytest.raises((ValueError, TypeError, LookupError)):
            Directions.from_tensors(tensors, about)


class TestNameBook:
    def test_in_a_file(self, tmp_path: Path) -> None:
        book = NameBook("c0ffee", {"pc1": "nach links", "-pc1": "後退"})
        again = NameBook.load(book.save(tmp_path / "names.json"))
        assert again == book
        again.check("c0ffee")
        with pytest.raises(LamdemoError, match="another checkpoint"):
            again.check("tea")

    @pytest.mark.parametrize("name", ["x" * 81, "a\x00b", "\x1b[0m"])
    def test_what_is_no_name(self, name: str) -> None:
        with pytest.raises(LamdemoError, match="characters"):
            NameBook("").named("pc1", name)

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "[]",
            "null",
            "{",
            "[" * 100_000,
            '{"format": "lamdemo-names/1", "checkpoint": "a"}',
            '{"format": "lamdemo-names/1", "checkpoint": 1, "names": {}}',
            '{"format": "lamdemo-names/2", "checkpoint": "a", "names": {}}',
            '{"format": "lamdemo-names/1", "checkpoint": "a", "names": {"pc1": 3}}',
            '{"format": "lamdemo-names/1", "checkpoint": "a", "names": ["pc1"]}',
            '{"format": "lamdemo-names/1", "checkpoint": "a", "names": {"pc1": ""}}',
        ],
    )
    def test_nonsense_is_refused_in_one_sentence(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "mine.json"
        path.write_text(content)
        with pytest.raises(LamdemoError, match=r"mine\.json holds no names") as caught:
            NameBook.load(path)
        assert str(tmp_path) not in str(caught.value)
        with pytest.raises(LamdemoError):
            NameBook.load(tmp_path / "missing.json")
