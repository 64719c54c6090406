"""How a checkpoint's controllers are trained: what was chosen for each embodiment on held-out recordings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ablation:
    """How an embodiment's controller that sees no state is trained, for comparison."""

    steps: int = 2500  # of training
    dropout: float = 0.1  # share that is left out
    noise: float = 0.2  # see `ControllerTrainingConfig.noise`; it sees no state, so this changes nothing but the record


@dataclass(frozen=True)
class Embodiment:
    """How an embodiment's controller is trained."""

    name: str  # of its actions
    width: int = 128  # of the controller's tokens
    history: int = 2  # commands that are seen at a step
    dropout: float = 0.3  # share that is left out
    noise: float = 1.0  # on states, see `ControllerTrainingConfig.noise`
    steps: int = 2500  # of training
    blind: Ablation = Ablation()  # how the one that sees no state is trained
    simulator: bool = False  # its closed loop runs in the simulator of its name


EMBODIMENTS = {
    embodiment.name: embodiment
    for embodiment in (
        Embodiment("car", width=64, dropout=0.1, noise=0.3, steps=2000, blind=Ablation(3000, 0.0, 0.0)),
        Embodiment("arm", width=64, history=1, steps=1000, blind=Ablation(2000, 0.0, 0.0)),
        Embodiment("doom", simulator=True),
        Embodiment("fetch", simulator=True),
    )
}
