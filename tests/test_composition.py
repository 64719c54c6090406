"""Arithmetic of latent actions and the timeline: what is true of sums, reverses, smoothing, files and links."""

import base64
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import MAX_STEPS, LatentActions
from lamdemo.latent_space.composition import (
    MAX_BLOCKS,
    Block,
    Composition,
    Term,
    add,
    interpolate,
    reverse,
    smooth,
    then,
    zero_means,
)

WIDTH = 128
CHECKPOINT = "0123456789abcdef" * 4


def actions(steps: int, seed: int = 0, width: int = WIDTH, checkpoint: str = CHECKPOINT) -> LatentActions:
    z = np.random.default_rng(seed).normal(size=(steps, width)).astype(np.float32)
    return LatentActions(z, 4.0, checkpoint)


def composition() -> Composition:
    a, b = Term(actions(1, 1).z, "camera pans left"), Term(actions(3, 2).z, "zoom in, é")
    blocks = (
        Block((a, replace(b, weight=-0.5)), strength=1.5, repeat=2),
        Block((b,), reverse=True),
        Block.between(a, b, 0.25),
    )
    return Composition(blocks, 4.0, CHECKPOINT, smooth=0.7)


def test_sums_are_step_by_step_and_the_shorter_is_followed_by_nothing():
    a, b = actions(4, 1), actions(2, 2)
    total = add(a, b).z
    np.testing.assert_allclose(total[:2], a.z[:2] + b.z, rtol=1e-6)
    np.testing.assert_array_equal(total[2:], a.z[2:])
    np.testing.assert_array_equal(add(b, a).z, total)


def test_a_single_step_is_held_all_along():
    a, b = actions(4, 1), actions(1, 2)
    np.testing.assert_allclose(add(a, b).z - a.z, np.repeat(b.z, 4, 0), atol=1e-6)


def test_interpolation_has_both_ends_and_the_middle():
    a, b = actions(3, 1), actions(3, 2)
    np.testing.assert_array_equal(interpolate(a, b, 0).z, a.z)
    np.testing.assert_array_equal(interpolate(a, b, 1).z, b.z)
    np.testing.assert_allclose(interpolate(a, b, 0.5).z, add(a, b).z / 2, atol=1e-6)


def test_a_sequence_and_its_reverse_come_to_nothing():
    a = actions(5)
    there_and_back = then(a, reverse(a)).z
    # Undone in the order of the last first: each prefix of the way back meets its own step.
    np.testing.assert_array_equal(there_and_back[5:], -a.z[::-1])
    np.testing.assert_array_equal(reverse(reverse(a)).z, a.z)
    np.testing.assert_allclose(there_and_back.sum(0), 0, atol=1e-5)


@pytest.mark.parametrize("width", [0.3, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("steps", [2, 5, 30])
def test_smoothing_keeps_the_sum_and_a_constant_and_makes_changes_smaller(width, steps):
    a = actions(steps)
    smoothed = smooth(a, width).z
    np.testing.assert_allclose(smoothed.sum(0), a.z.sum(0), rtol=1e-3, atol=1e-3)
    constant = LatentActions(np.ones((steps, WIDTH), np.float32), 4.0)
    np.testing.assert_allclose(smooth(constant, width).z, 1, rtol=1e-5)
    assert np.abs(np.diff(smoothed, axis=0)).sum() < np.abs(np.diff(a.z, axis=0)).sum()


def test_smoothing_by_nothing_changes_nothing():
    a = actions(5)
    np.testing.assert_array_equal(smooth(a, 0).z, a.z)


def test_actions_of_two_checkpoints_do_not_mix():
    for other in (actions(2, checkpoint="f" * 64), actions(2, width=16)):
        for operation in (add, then, lambda a, b: interpolate(a, b, 0.5)):
            with pytest.raises(LamdemoError, match="checkpoint"):
                operation(actions(2), other)


def test_then_is_one_after_another():
    a, b = actions(1, 1), actions(2, 2)
    np.testing.assert_array_equal(then(a, b).z, np.concatenate([a.z, b.z]))


def test_a_block_is_its_terms_then_strength_then_reverse_then_repeat():
    a, b = actions(1, 1).z, actions(3, 2).z
    block = Block((Term(a, "A"), Term(b, "B", -0.5)), strength=2, reverse=True, repeat=2)
    once = -(2 * (a - 0.5 * b))[::-1]
    np.testing.assert_allclose(block.z, np.concatenate([once, once]), rtol=1e-5, atol=1e-6)
    assert len(block) == len(block.z) == 6
    assert block.label == "A − 0.5 × B, reversed"


def test_editing_gives_a_new_timeline_and_leaves_the_old_one():
    old = composition()
    labels = [block.label for block in old.blocks]
    assert [b.label for b in old.move(0, 2).blocks] == [labels[1], labels[2], labels[0]]
    assert [b.label for b in old.move(2, -5).blocks] == [labels[2], labels[0], labels[1]]
    assert [b.label for b in old.remove(1).blocks] == [labels[0], labels[2]]
    assert len(old.append(old.blocks[0])) == len(old) + len(old.blocks[0])
    assert [b.label for b in old.blocks] == labels
    for wrong in (-1, 3):
        with pytest.raises(LamdemoError):
            old.remove(wrong)


def test_a_file_gives_back_the_same_bits_and_the_same_blocks(tmp_path):
    made = composition()
    path = made.save(tmp_path / "mine.npz")
    read = Composition.load(path)
    assert read.latents().z.tobytes() == made.latents().z.tobytes()
    assert [b.label for b in read.blocks] == [b.label for b in made.blocks]
    assert (read.fps, read.checkpoint, read.smooth) == (made.fps, made.checkpoint, made.smooth)
    # And whoever only wants the latents reads it as before.
    assert LatentActions.load(path).z.tobytes() == made.latents().z.tobytes()
    assert [p.name for p in tmp_path.iterdir()] == ["mine.npz"]


def test_latents_of_a_transfer_become_one_block(tmp_path):
    a = actions(6)
    read = Composition.load(a.save(tmp_path / "latents.npz"))
    assert [b.label for b in read.blocks] == ["latents"]
    assert read.latents().z.tobytes() == a.z.tobytes()


def test_a_link_gives_back_the_actions_within_a_percent():
    made = composition()
    link = made.encode()
    for pasted in (f"?actions={link}", f"https://example.org/a?b=1&actions={link}&__theme=dark", f" {link}#top\n"):
        assert Composition.decode(pasted).encode() == link
    assert set(link) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")
    read = Composition.decode(link, checkpoint=CHECKPOINT, channels=WIDTH)
    want, got = made.latents().z, read.latents().z
    assert np.linalg.norm(got - want) <= 0.01 * np.linalg.norm(want)
    assert [b.label for b in read.blocks] == [b.label for b in made.blocks]
    assert read.checkpoint == CHECKPOINT


def test_the_same_action_twice_travels_once():
    a = Term(actions(4).z, "A")
    once, often = Composition((Block((a,)),)), Composition(tuple(Block((a,)) for _ in range(8)))
    assert len(often.encode()) < 1.2 * len(once.encode())


def packed(plan: object) -> str:
    return "1." + base64.urlsafe_b64encode(zlib.compress(json.dumps(plan).encode())).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.",
        "hello",
        "1.AAAA",
        "2." + "A" * 50,
        "1.<script>",
        composition().encode()[:-9],
        "1." + "A" * 9000,
        packed([]),
        packed({"terms": {}, "blocks": [], "of": "", "fps": 4, "smooth": 0}),
        packed({"terms": {}, "blocks": [[[["x", 1, "y"]], 1, 0, 1]], "of": "", "fps": 4, "smooth": 0}),
        packed({"terms": {"a": ["AAAA", "AAAA", 0]}, "blocks": [], "of": "", "fps": 4, "smooth": 0}),
        packed({"terms": {}, "blocks": "a" * 10, "of": "", "fps": float("inf"), "smooth": 0}),
        packed("[" * 5000),
    ],
)
def test_a_link_of_nonsense_gets_one_sentence(text):
    with pytest.raises(LamdemoError) as caught:
        Composition.decode(text)
    assert str(caught.value).count(".") == 1


def test_a_link_that_unpacks_without_end_is_refused():
    bomb = "1." + base64.urlsafe_b64encode(zlib.compress(b"[" * 5_000_000, 9)).decode().rstrip("=")
    assert len(bomb) < 8000
    with pytest.raises(LamdemoError, match="no latent actions"):
        Composition.decode(bomb)


def test_a_link_of_another_checkpoint_or_width_is_refused():
    link = composition().encode()
    for where in ({"checkpoint": "f" * 64}, {"channels": 16}):
        with pytest.raises(LamdemoError, match="another checkpoint"):
            Composition.decode(link, **where)


def test_a_link_cannot_ask_for_more_than_a_timeline_may_hold():
    a = Term(actions(1).z, "A")
    whole = Composition((Block((a,), repeat=50),))
    with pytest.raises(LamdemoError, match="up to 256 steps"):
        Composition(whole.blocks * 6)
    with pytest.raises(LamdemoError, match=f"up to {MAX_BLOCKS} blocks"):
        Composition((Block((a,)),) * (MAX_BLOCKS + 1))
    assert len(Composition(whole.blocks * 5)) <= MAX_STEPS


def test_too_many_actions_for_a_link_are_told_to_go_into_a_file():
    with pytest.raises(LamdemoError, match="file"):
        Composition((Block((Term(actions(100).z, "long"),)),)).encode()


def test_an_empty_timeline_has_nothing_to_give(tmp_path):
    for use in (Composition().latents, Composition().encode, lambda: Composition().save(tmp_path / "a.npz")):
        with pytest.raises(LamdemoError, match="empty"):
            use()
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_gets_one_sentence(tmp_path):
    good = composition().save(tmp_path / "good.npz").read_bytes()
    for content in (b"", b"PK", good[: len(good) // 2], json.dumps({}).encode()):
        path = tmp_path / "bad.npz"
        path.write_bytes(content)
        with pytest.raises(LamdemoError, match=r"bad\.npz"):
            Composition.load(path)
    np.savez(
        tmp_path / "odd.npz", z=actions(2).z, fps=np.float64(4), checkpoint=np.str_(""), composition=np.str_('{"a": 1}')
    )
    with pytest.raises(LamdemoError, match=r"odd\.npz"):
        Composition.load(tmp_path / "odd.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(value):
    with pytest.raises(LamdemoError):
        Term(np.full((1, WIDTH), value), "x")
    with pytest.raises(LamdemoError):
        Term(actions(1).z, "x", value)
    with pytest.raises(LamdemoError):
        Block.of(actions(1).z, "x").__class__((Term(actions(1).z, "x"),), strength=value)


def test_zero_is_told_for_every_family():
    told = {zero_means(family) for family in ("noisy", "sparse", "discrete")}
    assert len(told) == 3 and all("nothing happens" in words for words in told)
