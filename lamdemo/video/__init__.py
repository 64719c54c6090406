"""Video in, video out: frames as arrays, whatever the file; pictures in step; optical flow."""

from lamdemo.video.files import ANIMATION_SUFFIXES, PICTURE_SUFFIXES, VIDEO_SUFFIXES, find_videos
from lamdemo.video.flow import flow_to_color, optical_flow, warp
from lamdemo.video.panels import contact_sheet, side_by_side
from lamdemo.video.probing import DEFAULT_LIMITS, ReadLimits, VideoInfo
from lamdemo.video.reading import Clip, iter_frames, probe, read_clip, read_frame, read_image
from lamdemo.video.sound import add_sound
from lamdemo.video.writing import write_gif, write_image, write_video, write_webp

__all__ = [
    "ANIMATION_SUFFIXES",
    "DEFAULT_LIMITS",
    "PICTURE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Clip",
    "ReadLimits",
    "VideoInfo",
    "add_sound",
    "contact_sheet",
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
    "write_gif",
    "write_image",
    "write_video",
    "write_webp",
]
