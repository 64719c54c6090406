"""Latent action world models that anyone can see, use and train.

From two frames of a video an inverse dynamics model reads a small latent action ``z``; a world model
applies ``z`` to another state and predicts what comes next. The method is that of "Learning Latent
Action World Models In The Wild" (arXiv 2601.05230), called "the paper" throughout.

Imports go one way, and no module imports what imports it: ``core`` -> ``video`` -> ``models``, ``data`` ->
``engine`` -> ``latent_space``, ``planning`` -> ``jobs`` -> ``evaluation`` -> ``reporting`` -> ``ui``, ``cli``;
``simulators`` stand beside the engine and import ``core``, ``video`` and ``data`` only, ``training`` stands above it,
and ``companions``, which makes all that a checkpoint brings, above all but ``cli``.

One meaning of time: ``z[t]`` takes ``s[t]`` to ``s[t+1]``; ``T`` frames have ``T - 1`` latents.

One convention of shape letters, used in every signature and comment:

====  ==========================================================================
B     clips in a batch
T     frames (or states) in time
S     steps in time, ``S = T - 1``
H, W  height and width of pictures, in pixels
h, w  height and width of the state's grid, in cells (16 pixels of the encoder's picture each)
N     cells of the grid, ``N = h * w``, row by row
D     channels of a state
Z     channels of a latent action
A     numbers of a known action, a command
C     commands that a controller sees: that of the step and those before it
K     candidates of a planner
E     width of a transformer
====  ==========================================================================

Pictures outside the models are uint8 RGB ``[..., H, W, 3]``; inside they are floats in [0, 1],
``[..., 3, H, W]``. A flow is a backward one, ``(dx, dy)`` in its last axis (outside) or channel axis
(inside): the value at a place of frame ``t + 1`` points to where it was in frame ``t``. Inside the models
flows are in units of the picture's width and height, so that they hold at any resolution; outside in pixels.
"""

__version__ = "0.1.0"

DEFAULT_CHECKPOINT = "layers"
"""Name of the bundled checkpoint that is meant where none is named."""
