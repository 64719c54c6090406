"""Scenes whose actions are known: procedural ones, rendered in batches, and scenes of things, drawn pair by pair."""

from lamdemo.data.scenes.compositing import SceneClip
from lamdemo.data.scenes.cutouts import SceneBank, bundled_things, read_bank
from lamdemo.data.scenes.procedural import (
    KINDS,
    Cast,
    Kind,
    Photographs,
    SceneConfig,
    Script,
    TrueMotion,
    camera_velocity,
    combine,
    draw_cast,
    draw_pairs,
    render,
    rendered,
    true_motion,
    write_script,
)
from lamdemo.data.scenes.things import THING_KINDS, ThingKind, ThingSceneConfig, draw_pair

__all__ = [
    "KINDS",
    "THING_KINDS",
    "Cast",
    "Kind",
    "Photographs",
    "SceneBank",
    "SceneClip",
    "SceneConfig",
    "Script",
    "ThingKind",
    "ThingSceneConfig",
    "TrueMotion",
    "bundled_things",
    "camera_velocity",
    "combine",
    "draw_cast",
    "draw_pair",
    "draw_pairs",
    "read_bank",
    "render",
    "rendered",
    "true_motion",
    "write_script",
]
