"""Episodes: pictures together with the known actions that were taken between them, whatever they come from."""

from lamdemo.core.actions import ActionSpec, Channel, Kind
from lamdemo.data.episodes.collection import Episodes, Table
from lamdemo.data.episodes.episode import Episode
from lamdemo.data.episodes.files import CONFIG_NAME, EpisodeWriter
from lamdemo.data.episodes.opening import open_episodes

__all__ = [
    "CONFIG_NAME",
    "ActionSpec",
    "Channel",
    "Episode",
    "EpisodeWriter",
    "Episodes",
    "Kind",
    "Table",
    "open_episodes",
]
