"""Known actions and plans judged: do commands lead where they led, and do plans lead where they should?

- `rollouts`: eight steps under commands, drawn and compared with what was filmed;
- `open_loop`: plans between two frames of a recording, against the commands that were given;
- `closed_loop`: plans carried out in simulators;
- `suite`: the three for every embodiment, in one report.
"""

from lamdemo.evaluation.control.suite import EMBODIMENTS, PARTS, ControlConfig, run_control

__all__ = ["EMBODIMENTS", "PARTS", "ControlConfig", "run_control"]
