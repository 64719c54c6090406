"""How the controllers that come with a checkpoint are trained: what was chosen for each body on held-out recordings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ablation:
    """How a body's controller that sees no state is trained, for comparison.

    Attributes:
        steps: of training.
        dropout: share that is left out.
        noise: see `ControllerTrainingConfig.noise`; it sees no state, so this changes nothing but the record.
    """

    steps: int = 2500
    dropout: float = 0.1
    noise: float = 0.2


@dataclass(frozen=True)
class Embodiment:
    """How a body's controller is trained.

    Attributes:
        name: of its actions.
        width: of the controller's tokens.
        history: commands that are seen at a step.
        dropout: share that is left out.
        noise: on states, see `ControllerTrainingConfig.noise`.
        steps: of training.
        blind: how the one that sees no state is trained.
        simulator: its closed loop runs in the simulator of its name.
    """

    name: str
    width: int = 128
    history: int = 2
    dropout: float = 0.3
    noise: float = 1.0
    steps: int = 2500
    blind: Ablation = Ablation()
    simulator: bool = False


EMBODIMENTS = {
    embodiment.name: embodiment
    for embodiment in (
        Embodiment("car", width=64, dropout=0.1, noise=0.3, steps=2000, blind=Ablation(3000, 0.0, 0.0)),
        Embodiment("arm", width=64, history=1, steps=1000, blind=Ablation(2000, 0.0, 0.0)),
        Embodiment("doom", simulator=True),
        Embodiment("fetch", simulator=True),
    )
}
