"""A process that decodes or encodes: what it may open, how long it may take, and that it is gone afterwards."""

from __future__ import annotations

import functools
import math
import os
import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from lamdemo.core.errors import LamdemoError

# Every container, raw stream and picture format of ffmpeg that holds pictures in ONE file. What is missing is
# missing on purpose: formats that name other files or addresses (hls, dash, concat, imf, sdp, rtsp, image2,
# mlv, vobsub, svg), that run something (lavfi, avisynth, devices) or that turn any text into a picture (tty).
FORMATS = (
    # Containers of today.
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,asf_o,flv,live_flv,kux,nut,ogg,mxf,mpeg,mpegts,wtv,rm,gxf,"
    "lxf,dv,ivf,nsv,nuv,swf,xmv,ty,pva,mpjpeg,smjpeg,cine,ser,mxg,dhav,hxvs,ifv,iv8,luodat,lvf,vividas,"
    # Raw streams of one codec, and uncompressed video that says its own size.
    "h261,h263,h264,hevc,vvc,evc,av1,obu,m4v,mpegvideo,mjpeg,mjpeg_2000,vc1,vc1test,cavsvideo,avs2,avs3,dirac,"
    "dnxhd,apv,yuv4mpegpipe,filmstrip,"
    # Animations and pictures.
    "gif,apng,webp_anim,jpegxl_anim,flic,anm,ico,iff,fits,alias_pix,brender_pix,bmp_pipe,cri_pipe,dds_pipe,"
    "dpx_pipe,exr_pipe,gem_pipe,gif_pipe,hdr_pipe,j2k_pipe,jpeg_pipe,jpegls_pipe,jpegxl_pipe,jpegxs_pipe,"
    "pam_pipe,pbm_pipe,pcx_pipe,pfm_pipe,pgm_pipe,pgmyuv_pipe,pgx_pipe,phm_pipe,photocd_pipe,pictor_pipe,"
    "png_pipe,ppm_pipe,psd_pipe,qdraw_pipe,qoi_pipe,sgi_pipe,sunrast_pipe,tiff_pipe,vbn_pipe,webp_pipe,"
    "xbm_pipe,xpm_pipe,xwd_pipe,"
    # Games and players of old.
    "4xm,avs,bethsoftvid,bfi,bink,bmv,c93,cdg,cdxl,dfa,dsicin,dxa,ea,film_cpk,gdv,hnm,idcin,ipmovie,ipu,jv,mm,"
    "mgsts,moflex,mods,mtv,mv,mvi,paf,pdv,pmp,psxstr,rl2,roq,rpl,sga,siff,smk,smush,thp,tiertexseq,tmv,usm,vivo,vmd,"
    "wc3movie,wsvqa,yop"
)

_HEAD, _TAIL = (
    256 * 1024,
    16 * 1024,
)  # bytes kept of what ffmpeg says: a damaged file can make it talk for ever


_MEMORY, _MEMORY_PER_PIXEL = 1 << 30, 64  # bytes that decoding may take, and more for each pixel of a frame
_OLDEST = 7  # the first ffmpeg that says all that is read from its talk


def ffmpeg() -> str:
    """Path of the ffmpeg binary that the imageio-ffmpeg wheel brings (or ``IMAGEIO_FFMPEG_EXE`` names).

    Raises:
        LamdemoError: there is none, it cannot be run, or it is too old.
    """
    try:
        # Here and not above: training from a pack needs no ffmpeg, and where it does there may be none.
        import imageio_ffmpeg

        return _usable(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        message = "No ffmpeg was found: install imageio-ffmpeg again, or name one in IMAGEIO_FFMPEG_EXE."
        raise LamdemoError(message) from error


@functools.lru_cache
def _usable(path: str) -> str:
    """The path of an ffmpeg, once it was asked what it is: files must not be blamed for its faults."""
    where = "IMAGEIO_FFMPEG_EXE" if os.environ.get("IMAGEIO_FFMPEG_EXE") else "imageio-ffmpeg"
    hint = "unset it" if where == "IMAGEIO_FFMPEG_EXE" else "install it again"
    try:
        done = subprocess.run([path, "-version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=30)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        why = (getattr(error, "strerror", None) or "it does not answer").lower()
        raise LamdemoError(f"The ffmpeg of {where} cannot be run, {why}: {hint}, or name another one there.") from error
    version = re.match(rb"ffmpeg version (?:n?(\d+)\.)?", done.stdout)
    if version is None:
        raise LamdemoError(f"What {where} names is no ffmpeg that runs here: {hint}, or name another one there.")
    if version[1] and int(version[1]) < _OLDEST:  # builds between two versions have no number
        raise LamdemoError(
            f"The ffmpeg of {where} is version {int(version[1])}, too old: {hint}, or name one of {_OLDEST} or newer."
        )
    return path


def ffmpeg_command(arguments: Sequence[str], *, loglevel: str = "error") -> list[str]:
    """The command of a run of ffmpeg, with a ``loglevel`` of ``info`` where its talk is to be read."""
    return [ffmpeg(), "-hide_banner", "-nostdin", "-nostats", "-loglevel", loglevel, *arguments]


class Budget:
    """Wall time that a job may spend waiting for its processes, over all the processes it starts, in seconds.

    Only waiting counts: a reader that hands frames to a slow consumer is not cut short by it.
    """

    def __init__(self, seconds: float | None):
        self.seconds = seconds
        self._spent = 0.0
        self._since: float | None = None

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        since, self._since = self._since, None
        if since is not None:
            self._spent += time.monotonic() - since

    @property
    def left(self) -> float:
        """Seconds left; infinite where there is no limit."""
        if self.seconds is None:
            return float("inf")
        since = self._since
        return self.seconds - self._spent - (time.monotonic() - since if since is not None else 0.0)


class Process:
    """A running program, killed when its ``with`` block ends however it ends, or when its budget is spent.

    ffmpeg reads its input from its standard input, as the seekable file ``fd:``, and ``fd`` is the only protocol
    it may open. It never learns a file's name, so no name can hold an option, a pattern or another protocol,
    and nothing inside the file can make it open a second one.

    Args:
        command: the program and its arguments.
        source: file to lay on its standard input, or None for a pipe that :meth:`write` fills.
        budget: wall time that it may take; of computing time it gets as much on each of four cores.
        memory: bytes of address space that it may take; None for no limit.
        writes: bytes of the largest file that it may write while it reads ``source``.
        folder: folder it runs in.
        environment: more variables for it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        source: IO[bytes] | None,
        budget: Budget,
        memory: int | None = None,
        writes: int = 0,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ):
        # A report file or colours asked for in the environment would spill to disk or break the parsing.
        hidden = {"FFREPORT", "AV_LOG_FORCE_COLOR"}
        kept = {k: v for k, v in os.environ.items() if k not in hidden}
        self._budget = budget
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if source is None else source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={**kept, "AV_LOG_FORCE_NOCOLOR": "1", **(environment or {})},
            pipesize=1 << 20,
        )
        if source is not None:
            _bound(self._process.pid, memory, writes, budget.seconds)
        self.timed_out = False
        self._head, self._tail = bytearray(), bytearray()
        self._over = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._listener.start()
        self._watcher.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the process if it still runs, wait for it, and free its pipes and threads."""
        self._over.set()
        self._process.kill()
        self._process.wait()
        self._listener.join()
        self._watcher.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with suppress(OSError):  # what was still to be flushed has nobody to read it
                    pipe.close()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        while piece := self._process.stderr.read1(65536):  # type: ignore[attr-defined]
            room = _HEAD - len(self._head)
            self._head += piece[:room]
            self._tail = (self._tail + piece[room:])[-_TAIL:]

    def _watch(self) -> None:
        while not self._over.wait(min(max(self._budget.left, 0.0), 0.2)):
            if self._budget.left <= 0:
                self.timed_out = True
                self._process.kill()
                return

    def read_line(self) -> bytes:
        """The next line of the process' output, its end included; empty where the output ends."""
        assert self._process.stdout is not None
        with self._budget:
            return self._process.stdout.readline()

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from the process' output; fewer bytes than it holds only where the output ends."""
        assert self._process.stdout is not None
        view, filled = buffer.cast("B"), 0
        with self._budget:
            while filled < len(view) and (n := self._process.stdout.readinto(view[filled:])):  # type: ignore[attr-defined]
                filled += n
        return filled

    def write(self, data: memoryview) -> bool:
        """Give the process input; False when it no longer takes any."""
        assert self._process.stdin is not None
        with self._budget:
            try:
                self._process.stdin.write(data)
            except OSError:
                return False
        return True

    def finish(self) -> bool:
        """End its input, wait for it, and tell whether it was content."""
        with self._budget:
            if self._process.stdin is not None:
                with suppress(OSError):
                    self._process.stdin.close()
            self._process.wait()
        self._listener.join()
        return self._process.returncode == 0

    @property
    def log(self) -> str:
        """What it said so far: the beginning and, where that was too long, the end."""
        return (self._head + self._tail).decode("utf-8", "replace")


def _bound(process: int, memory: int | None, writes: int, seconds: float | None) -> None:
    """Let a process that reads write no larger file, and take no more than that, where the system knows such limits.

    It is done from here once it runs, which takes microseconds: what a child does before it becomes another program
    is not safe where there are threads.
    """
    try:
        import resource

        change = resource.prlimit
    except (ImportError, AttributeError):  # Windows, macOS
        return
    limits = {resource.RLIMIT_FSIZE: writes, resource.RLIMIT_CORE: 0, resource.RLIMIT_AS: memory}
    limits[resource.RLIMIT_CPU] = None if seconds is None else 4 * math.ceil(seconds) + 1
    for limit, value in limits.items():
        if value is not None:
            with suppress(OSError, ValueError):  # it is over already, or under tighter limits
                change(process, limit, (value, value))


def memory_for(max_pixels: int) -> int:
    """Bytes that decoding frames of so many pixels may take: what codecs keep of earlier ones, and of what is made."""
    return _MEMORY + _MEMORY_PER_PIXEL * max_pixels


def input_arguments(*, max_pixels: int) -> list[str]:
    """The options before every input of ours: one file, the formats of :data:`FORMATS`, bounded pictures."""
    # ffmpeg counts the pixels of its own buffers, whose rows are longer; the exact limit is the caller's.
    padded = max_pixels + max_pixels // 8 + 65536
    return [
        *("-protocol_whitelist", "fd", "-format_whitelist", FORMATS),
        *("-max_pixels", str(padded), "-threads", str(min(4, os.cpu_count() or 1))),
    ]
