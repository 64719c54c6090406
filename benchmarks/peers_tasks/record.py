"""Record episodes of a task with the harness's own scripted policies.

    VENV/bin/python -m benchmarks.peers_tasks.record tworoom --episodes 200 --seed 0 --out FOLDER

``FOLDER/recording.lance`` is the harness's own data set, which its evaluation draws starts and goals from;
``FOLDER/episodes`` are the same episodes in our format, with true states beside them, for training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.peers_tasks.tasks import FPS, PICTURE, TASKS, Task, as_script, find_task, harness
from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes import Episode
from lamdemo.data.episodes.files import EpisodeWriter

RECORDING = "recording.lance"
EPISODES = "episodes"


def record(task: Task, folder: Path, episodes: int, seed: int, noise: float) -> None:
    """Record episodes and convert them.

    Args:
        task: what to record.
        folder: where to; it must hold no recording yet.
        episodes: how many.
        seed: of starts, goals and the policy.
        noise: standard deviation of what is added to each number of an action (TwoRoom).

    Raises:
        LamdemoError: the package is missing, or the folder holds a recording.
    """
    swm = harness()
    if (folder / RECORDING).exists():
        raise LamdemoError(f"{folder.name} holds a recording already; choose another folder.")
    world = swm.World(task.environment, num_envs=1, image_shape=(PICTURE, PICTURE), max_episode_steps=task.steps)
    world.set_policy(task.policy(noise, seed))
    world.collect(folder / RECORDING, episodes=episodes, seed=seed, progress=False)
    world.close()
    convert(task, folder, {"recorded by": "the harness's own policy", "seed": seed, "noise": noise})


def convert(task: Task, folder: Path, about: dict[str, object]) -> None:
    """Write a recording's episodes in our format; see `record`."""
    found = harness().data.load_dataset(str(folder / RECORDING))
    writer = EpisodeWriter(folder / EPISODES, task.spec, about)
    for i, length in enumerate(found.lengths):
        if length < 2:
            continue
        rows = found.load_chunk(np.array([i]), np.array([0]), np.array([int(length)]))[0]
        frames = np.ascontiguousarray(np.asarray(rows["pixels"]).transpose(0, 2, 3, 1))
        name = f"{folder.name}-{i:04d}"
        truth = {"state": np.asarray(rows["state"], np.float32)}
        # The harness moves each action to the frame it starts from; the last of an episode leads nowhere.
        actions = np.asarray(rows["action"], np.float32)[:-1]
        writer.add(Episode(name, frames, actions, FPS, task.spec, truth, name))


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", type=float, default=1.0)
    parser.add_argument("--out", type=Path, required=True)
    return as_script(
        parser, lambda given: record(find_task(given.task), given.out, given.episodes, given.seed, given.noise)
    )


if __name__ == "__main__":
    raise SystemExit(main())
