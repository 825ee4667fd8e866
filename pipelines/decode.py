"""``duoview decode``: access units into pictures, for machines or for people, written as video or images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

import duoview
from duoview.errors import ContainerError
from duoview.generation import MAX_STEPS, STARTS
from duoview.kernels.palette import MAX_DEPTH
from duoview.plugins.filters.dv_human import Human
from duoview.plugins.filters.dv_machine import RESTORE, Machine
from duoview.plugins.filters.dv_texture import Texture
from duoview.plugins.graph import Graph
from duoview.sequence import MachineCodec
from duoview.texture import Depths
from duoview.texture.decoder import FILLS

from .console import LEVELS, Console
from .cut import Cut, item_time, shift_item
from .destination import claim
from .encode import input_duration, one_input_one_output
from .errors import MediaError, UsageError
from .finishing import run_and_finish
from .hwaccel import HWACCEL_OPTION, check_decode, stays
from .interrupt import EXIT_CODE, Interrupt
from .options import (
    CUT_OPTIONS,
    DEVICE_OPTION,
    FILES,
    FORMAT_OPTION,
    GLOBAL_OPTIONS,
    NO_STREAM_OPTIONS,
    CommandLine,
    CommandOption,
    Scope,
    caption,
    frame_rate,
    help_lines,
    integer,
    noise_share,
    one_of,
    split,
    stats_wanted,
    texture_depths,
    window_side,
)
from .outputs import OutputSettings, VideoOutput
from .progress import Progress
from .provenance import ProvenanceLog
from .streams import mapped_streams, read_map
from .video_filters import video_filters

_VIEWS = one_of("machine", "human", "texture")
_INPUT, _OUTPUT = Scope.INPUT, Scope.OUTPUT
# fmt: off
TABLE = (
    *GLOBAL_OPTIONS,
    DEVICE_OPTION,
    HWACCEL_OPTION,
    CommandOption("profile", "folder", "the stream's profile, where it is not a bundled one", FILES),
    CommandOption("view", "view", "machine (what detectors see), texture (with what was sent for people) or human "
                  "(regenerated)", FILES, _VIEWS),
    CommandOption("start", "start", "human view: guided, from pure noise, no extra bits; slim, from the machine view, "
                  "noised, and a caption; texture, from what was sent of it", FILES, one_of(*STARTS)),
    CommandOption("steps", "n", "human view: diffusion steps a frame (4); 0: none, for profiles with a decoder of "
                  "human views", FILES, integer(0, MAX_STEPS)),
    CommandOption("seed", "n", "human view: seed of the noise (the one that was sent, else 0); texture view: of the "
                  "samples (0)", FILES, integer(0, (1 << 64) - 1)),
    CommandOption("noise", "share", "start slim: share of the noise to start with (the profile's)", FILES,
                  noise_share),
    CommandOption("caption", "caption", "starts slim and texture: what is seen: auto, what was sent, else what the "
                  "-detector finds; none; or a text, such as '1 person left' (auto)", FILES, caption),
    CommandOption("detector", "file", "starts slim and texture: network that finds what captions tell of", FILES),
    CommandOption("tile", "n", "human view: side of the windows that are made apart, in 8 pixels; 0: the whole picture",
                  FILES, window_side),
    CommandOption("text", "text", "human view: what is to be seen, for profiles with a text encoder", FILES),
    CommandOption("restore", "when", "inner streams: the profile's restoration: on, off, auto where it is", FILES,
                  one_of(*RESTORE)),
    CommandOption("texture", "depth", "texture view and start: use at most this depth, and TILE=DEPTH where tiles "
                  "differ (8)", FILES, texture_depths),
    CommandOption("texture_fill", "fill", "texture view: mean of the depths that were not sent, or samples (mean)",
                  FILES, one_of(*FILLS)),
    FORMAT_OPTION,
    *CUT_OPTIONS,
    CommandOption("r", "rate", "drop or repeat frames to this rate", _OUTPUT, frame_rate),
    CommandOption("threads", "n", "threads of the networks, and after -i of the encoder too", FILES, integer(0, 1024)),
    CommandOption("vf", "graph", "filters behind the decoder, libavfilter's and ours", _OUTPUT, aliases=("filter",),
                  specifiers=("v",)),
    CommandOption("c", "encoder", "encoder of the output (libx264 -crf 18); -c:a copy passes audio through", _OUTPUT,
                  specifiers=("v", "a", "s", "d"), aliases=("codec",)),
    CommandOption("q", "n", "quality of encoders that have -q:v, e.g. mjpeg: 1 is best", _OUTPUT, integer(1, 69),
                  specifiers=("v",)),
    CommandOption("pix_fmt", "format", "pixel format of the output (yuv420p)", _OUTPUT),
    CommandOption("movflags", "flags", "of MP4 and MOV files, e.g. +faststart", _OUTPUT),
    CommandOption("start_number", "n", "first number of an image sequence", _OUTPUT, integer(0)),
    CommandOption("update", "0|1", "write all pictures into one image file, the last stays", _OUTPUT, integer(0, 1)),
    CommandOption("map", "0[:v|a|s|d][:n]", "streams to take; those that are not video pass through", _OUTPUT,
                  read_map, repeat=True),
    *NO_STREAM_OPTIONS,
)
# fmt: on


@dataclass(frozen=True)
class DecodeJob:
    """What one call decodes, from what, to where. Times in seconds. held: frames stay on the device, with hwaccel."""

    url: str
    format: str | None
    seek: Fraction | None
    duration: Fraction | None
    view: str
    start: str
    steps: int
    seed: int | None
    text: str
    noise: float | None
    caption: str
    detector: str
    tile: int | None
    restore: str
    texture: str
    fill: str
    profile: str
    device: str
    hwaccel: str
    held: bool
    threads: int
    filters: str
    rate: Fraction | None
    maps: tuple[str, ...]
    copy_audio: bool
    cut: Cut
    output: OutputSettings


@dataclass(frozen=True)
class DecodeResult:
    """What was written, and how much of it stands in for damaged data."""

    frames: int
    concealed: int
    damaged: int
    skipped: int
    refused: int
    hints_refused: int
    symbols_sha256: str
    interrupted: bool


def usage() -> str:
    """The help of the command."""
    head = "duoview decode [input options] -i input [output options] output.{mp4,mkv,nut,...,%04d.png}"
    foot = "Other output options go to the encoder, e.g. -crf 23 -preset fast."
    return "\n".join((head, "", *help_lines(TABLE), "", foot))


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    line = split(arguments, TABLE, codec_options=True)
    console = Console(line.globals.get("loglevel", LEVELS["info"]))
    job = read_job(line)
    claim(job.output.url, job.url, line.globals, console)
    result = decode(job, console, progress_url=line.globals.get("progress"), stats=stats_wanted(line))
    console.info(f"{job.output.url}: {result.frames} frames of the {job.view} view, symbols {result.symbols_sha256}")
    return EXIT_CODE if result.interrupted else 0


def read_job(line: CommandLine) -> DecodeJob:
    """Turn a split command line into a job. Raises UsageError."""
    source, output = one_input_one_output(line, "decode")

    def either(name: str, default: Any) -> Any:
        return output.get(name, source.get(name, default))

    view = either("view", "machine")
    start = either("start", "guided") if view == "human" else ""
    for name in ("start", "steps", "seed", "text", "noise", "caption", "detector", "tile"):
        if either(name, None) is not None and view != "human" and not (name == "seed" and view == "texture"):
            raise UsageError(f"-{name}: belongs to the human view; expected -view human with it")
    for name, starts in (("noise", ("slim",)), ("caption", ("slim", "texture")), ("detector", ("slim", "texture"))):
        if either(name, None) is not None and start not in starts:
            raise UsageError(f"-{name}: belongs to start {' or '.join(starts)}; expected -start {starts[0]} with it")
    if either("detector", None) is not None and either("caption", "auto") != "auto":
        raise UsageError(f"-detector: makes captions where none was sent; expected -caption auto with it, not "
                         f"{either('caption', '')}")
    for name in ("texture", "texture_fill"):
        if either(name, None) is not None and view != "texture" and not (
                name == "texture" and (start == "texture" or not either(name, Depths(0)).most())):
            raise UsageError(f"-{name}: belongs to the texture view; expected -view texture with it")
    if view == "texture" and either("restore", None) is not None:
        raise UsageError("-restore: belongs to inner streams, whose machine or human view is restored; expected -view "
                         "machine or human with it")
    if start == "texture" and either("restore", None) == "on":
        raise UsageError("-restore on: start texture goes by the pictures as they were coded; expected -start guided "
                         "or slim with it")
    for kind in ("a", "s", "d"):
        codec = output.get(f"c:{kind}", "copy")
        if codec != "copy":
            raise UsageError(f"-c:{kind} {codec}: expected copy, the only way audio and other streams go through")
    codec_options = dict(output.codec_options)
    quality = output.get("q:v", output.get("q"))
    if quality is not None:
        codec_options |= {"flags": "+qscale", "global_quality": str(quality * 118)}  # 118 is FF_QP2LAMBDA
    hwaccel, device = source.get("hwaccel", "none"), line.globals.get("device", "cpu")
    if hwaccel != "none":
        check_decode({"device": device, "restore": either("restore", "auto"), "text": either("text", ""),
                      "detector": either("detector", "")})
    codec, filters = output.get("c:v", output.get("c")), output.get("vf", output.get("vf:v", ""))
    held = stays(codec, output.get("pix_fmt"), filters, output.get("r"), hwaccel=hwaccel != "none")
    muxer = {name: str(output.get(name)) for name in ("movflags", "start_number", "update") if name in output.values}
    return DecodeJob(
        url=source.url,
        format=source.get("f"),
        seek=source.get("ss"),
        duration=input_duration(source.get("ss"), source.get("t"), source.get("to")),
        view=view,
        start=either("start", "guided"),
        steps=either("steps", 4),
        seed=either("seed", None),
        text=either("text", ""),
        noise=either("noise", None),
        caption=either("caption", "auto"),
        detector=either("detector", ""),
        tile=either("tile", None),
        restore=either("restore", "auto"),
        texture=str(either("texture", Depths(MAX_DEPTH))),
        fill=either("texture_fill", "mean"),
        profile=either("profile", ""),
        device=device,
        hwaccel=hwaccel,
        held=held,
        threads=either("threads", 0),
        filters=filters,
        rate=output.get("r"),
        maps=output.get("map", ()),
        copy_audio="c:a" in output.values and not output.get("an"),
        cut=Cut.of(output),
        output=OutputSettings(
            url=output.url,
            format=output.get("f"),
            codec=codec,
            codec_options=codec_options,
            muxer_options=muxer,
            pixel_format=output.get("pix_fmt"),
            held=held,
            threads=output.get("threads", 0),
        ),
    )


def decode(
    job: DecodeJob, console: Console, *, progress_url: str | None = None, stats: bool | None = None
) -> DecodeResult:
    """Decode a file. Frames decoded before a failure stay in the finished output; the failure is raised after that."""
    with ExitStack() as stack:
        work = _Decoding(job, console, stack)
        expected = work.cut.expected(work.expected, job.rate or work.rate)
        work.progress = Progress(console, url=progress_url, stats=stats, expected=expected)
        stack.callback(work.progress.finish)
        interrupt = stack.enter_context(Interrupt())
        run_and_finish(lambda: work.run(interrupt), work.finish)
        result = work.result(interrupt.requested)
        if work.container.damaged:
            console.warning(f"{job.url}: {work.container.damaged} stretches of the file could not be read")
        if result.damaged or result.skipped:
            console.warning(
                f"{job.url}: {result.damaged} damaged access units, {result.concealed} frames concealed, "
                f"{result.skipped} skipped before a key frame; last: {work.last_damage}"
            )
        if result.refused:
            console.warning(f"{job.url}: {result.refused} depths of texture refused; last: {work.last_fault}")
        if result.hints_refused:
            console.warning(f"{job.url}: {result.hints_refused} captions or seeds left out; last: "
                            f"{work.last_hint_fault}")
        if not result.frames and not interrupt.requested:
            because = work.last_damage or "no access unit in the part that was asked for"
            raise MediaError(f"{job.url}: not one frame could be decoded: {because}")
        return result


@dataclass(frozen=True)
class _OwnStream:
    """How ``-map`` sees the duoview stream: its number in the file, as a video stream."""

    index: int
    type: str = "video"


class _Decoding:
    """One run: packets through decoder, filters and cut into the output."""

    def __init__(self, job: DecodeJob, console: Console, stack: ExitStack) -> None:
        self.job, self.console = job, console
        self.progress: Progress | None = None
        common: dict[str, Any] = {"device": job.device, "threads": job.threads, "profile": job.profile,
                                  "hwaccel": job.hwaccel, "frames": "device" if job.held else "host"}
        if job.view == "human":
            self.stage: Machine = Human(
                start=job.start, steps=job.steps, seed=-1 if job.seed is None else job.seed, restore=job.restore,
                text=job.text, noise=job.noise or 0.0, caption=job.caption, detector=job.detector,
                tile=-1 if job.tile is None else job.tile,
                texture=job.texture if job.start == "texture" else "8", **common)
        elif job.view == "texture":
            self.stage = Texture(texture=job.texture, fill=job.fill, seed=job.seed or 0, **common)
        else:
            self.stage = Machine(restore=job.restore, **common)
        self.graph = Graph((self.stage, *video_filters(job.filters, job.rate)))
        self.container = duoview.open(job.url, format=job.format)
        stack.callback(self.container.close)
        stream = self.container.stream
        base = stream.time_base
        self.zero = (stream.start_time or 0) * base
        self.rate = stream.average_rate
        total = stream.duration * base if stream.duration else None
        if total is not None and job.seek is not None:
            total = max(total - job.seek, Fraction(0))
        self.expected = min(total, job.duration) if total is not None and job.duration is not None else total
        self.begin = self.zero + (job.seek or 0)
        self.end = self.begin + job.duration if job.duration is not None else None
        self.stage.begin = self.begin if job.seek is not None else None
        self.shift = self.begin if job.seek is not None else Fraction(0)
        self.cut = Cut(self.zero - self.shift + (job.seek or 0), job.cut.start, job.cut.duration, job.cut.frames)
        self.copied = self._copied_streams()
        self.output = VideoOutput(job.output, console, rate=job.rate or self.rate, copied=self.copied)
        self.provenance = ProvenanceLog()
        self.kept = 0

    @property
    def last_damage(self) -> str:
        """The decoder's last complaint."""
        return self.stage.decoder.stats.last_damage if self.stage.decoder is not None else ""

    @property
    def last_fault(self) -> str:
        """The last complaint about texture."""
        return self.stage.decoder.stats.last_texture_fault if self.stage.decoder is not None else ""

    @property
    def last_hint_fault(self) -> str:
        """The last complaint about captions and seeds."""
        return self.stage.decoder.stats.last_hint_fault if self.stage.decoder is not None else ""

    def run(self, interrupt: Interrupt) -> None:
        """Decode to the end, to what was asked for, or to an interrupt."""
        if self.job.seek:
            self._seek()
        for packet in self._packets():
            if interrupt.requested:
                return
            at = item_time(packet)
            late = self.end is not None and at is not None and at >= self.end
            if packet.stream is not None:
                early = self.job.seek is not None and (at is None or at < self.begin)
                if not late and not early:
                    shift_item(packet, self.shift)
                    if not self.cut.is_before(packet) and not self.cut.is_after(packet, 0):
                        shift_item(packet, self.cut.start)
                        self.output.copy(packet, packet.stream_index)
                continue
            # Frames of an inner stream may be shown before those of earlier packets: their own times tell the end.
            if (late and not self._may_reorder()) or self._decode(packet):
                break
        self.graph.push(None)
        self._pass_on()

    def finish(self) -> None:
        """Finish the output and write the provenance of a view with generated detail beside it."""
        size = self.output.close()
        assert self.progress is not None
        self.progress.advance(0, size, None)
        if self.provenance.generated and self.output.written:
            self._write_provenance()

    def result(self, interrupted: bool) -> DecodeResult:
        """What was done so far."""
        decoder = self.stage.decoder
        stats = decoder.stats if decoder is not None else None
        return DecodeResult(
            frames=self.output.written,
            concealed=self.provenance.concealed,
            damaged=stats.damaged if stats is not None else 0,
            skipped=stats.skipped if stats is not None else 0,
            refused=stats.texture_refused if stats is not None else 0,
            hints_refused=stats.hints_refused if stats is not None else 0,
            symbols_sha256=decoder.symbols_sha256() if decoder is not None else "",
            interrupted=interrupted,
        )

    def _seek(self) -> None:
        try:
            self.container.seek(self.begin)
        except ContainerError as error:
            # Nothing is lost: all that lies before is decoded and left out.
            self.console.say("verbose", f"{error}; reading from the start")

    def _packets(self) -> Iterator[Any]:
        packets = self.container.demux(*self.copied)
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except ContainerError as error:
                self.console.warning(f"reading stopped here: {error}")
                return

    def _decode(self, packet: Any) -> bool:
        self.graph.push(packet)
        return self._pass_on()

    def _may_reorder(self) -> bool:
        decoder = self.stage.decoder
        return decoder is not None and decoder.sequence is not None and (
            decoder.sequence.machine_codec == MachineCodec.INNER)

    def _pass_on(self) -> bool:
        """Write the frames that are ready; True when no more are needed."""
        for frame in self.graph.ready():
            assert isinstance(frame, av.VideoFrame)
            at = item_time(frame)
            if self.end is not None and at is not None and at >= self.end and self._may_reorder():
                return True
            if self.job.seek is not None:
                if at is None or at < self.begin:
                    continue
                shift_item(frame, self.shift)
            if self.cut.is_before(frame):
                continue
            if self.cut.is_after(frame, self.kept):
                return True
            shift_item(frame, self.cut.start)
            self._write(frame)
            if self.cut.frames is not None and self.kept >= self.cut.frames:
                return True
        return False

    def _write(self, frame: av.VideoFrame) -> None:
        decoder = self.stage.decoder
        if not self.kept and decoder is not None and decoder.sequence is not None:
            self.output.describe(decoder.sequence.colour, decoder.sequence.sample_aspect_ratio)
        origin, before = frame.opaque, self.output.written
        size = self.output.write(frame)
        if self.output.written > before:  # frames that do not come after the last one are left out
            self.provenance.note(origin)
        self.kept += 1
        at = item_time(frame)
        length = frame.duration * Fraction(frame.time_base) if frame.duration and frame.time_base else Fraction(0)
        assert self.progress is not None
        self.progress.advance(1, size, at + length - self.cut.zero if at is not None else None)

    def _write_provenance(self) -> None:
        digest = self.stage.decoder.symbols_sha256() if self.stage.decoder is not None else ""
        if not self.provenance.write(self.job.output.url, source=self.job.url, view=self.job.view,
                                     symbols_sha256=digest):
            self.console.warning(f"the {self.job.view} view goes to a pipe: its provenance is not written beside it; "
                                 "it needs a file name")

    def _copied_streams(self) -> list[Any]:
        others = list(self.container.other_streams)
        if self.job.maps:
            ours = _OwnStream(self.container.stream.index)
            chosen = mapped_streams([ours, *others], self.job.url, self.job.maps)
            if ours not in chosen:
                raise UsageError(f"-map {' -map '.join(self.job.maps)}: leaves out the duoview stream, 0:{ours.index}")
            return [stream for stream in chosen if stream is not ours]
        return [stream for stream in others if stream.type == "audio"][:1] if self.job.copy_audio else []
