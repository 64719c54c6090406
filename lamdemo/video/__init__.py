"""Video in, video out: frames as arrays, whatever the file; pictures in step; optical flow."""

from lamdemo.video.flow import flow_to_color, optical_flow, warp
from lamdemo.video.panels import side_by_side
from lamdemo.video.reading import (
    DEFAULT_LIMITS,
    VIDEO_SUFFIXES,
    Clip,
    ReadLimits,
    VideoInfo,
    find_videos,
    iter_frames,
    probe,
    read_clip,
    read_frame,
    read_image,
)
from lamdemo.video.writing import write_image, write_video

__all__ = [
    "DEFAULT_LIMITS",
    "VIDEO_SUFFIXES",
    "Clip",
    "ReadLimits",
    "VideoInfo",
    "find_videos",
    "flow_to_color",
    "iter_frames",
    "optical_flow",
    "probe",
    "read_clip",
    "read_frame",
    "read_image",
    "side_by_side",
    "warp",
    "write_image",
    "write_video",
]
