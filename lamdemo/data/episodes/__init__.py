"""Episodes: pictures together with the known actions that were taken between them, whatever they come from."""

from lamdemo.data.episodes.format import ActionSpec, Channel, Episode, Kind

__all__ = ["ActionSpec", "Channel", "Episode", "Kind"]
