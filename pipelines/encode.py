"""``duoview encode``: a video, image or image sequence into a stream of access units for machines."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from duoview.errors import LimitError
from duoview.inner.settings import CODEC_NAMES, ENCODERS, GUIDES, LATENCIES
from duoview.machine_choice import MachineChoice, OperatingPoint, decide
from duoview.plugins.filters.dv_encode import Encode
from duoview.plugins.flow import Flow
from duoview.plugins.graph import Graph
from duoview.profile import Profile
from duoview.seed_search import MOST_SEEDS
from duoview.texture import FRAMES, Depths
from duoview.texture.geometry import DEFAULT_TILE_LOG2, LEAST_TILE_LOG2, MOST_TILE_LOG2

from .carry import carry, refuse_recoding
from .console import LEVELS, Console
from .cut import Cut, TimeOrder, is_priming, shift_item
from .destination import claim, is_pipe
from .encode_job import EncodeJob, EncodeResult
from .errors import MediaError, UsageError
from .finishing import run_and_finish
from .hwaccel import HWACCEL_OPTION, check_encode, check_frame
from .inputs import InputSettings, VideoInput, rotation_filters
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
    FileArguments,
    Scope,
    bit_rate,
    caption,
    frame_rate,
    help_lines,
    integer,
    one_of,
    positive_duration,
    region,
    share,
    size,
    split,
    stats_wanted,
    texture_depths,
)
from .progress import Progress
from .streams import read_map
from .unit_output import AccessUnitOutput
from .video_filters import video_filters

_DEMUXER_OPTIONS = {
    "framerate": "framerate",
    "pattern_type": "pattern_type",
    "start_number": "start_number",
    "loop": "loop",
    "s": "video_size",
    "pix_fmt": "pixel_format",
}
_INNER_OPTIONS = {
    "inner_codec": "codec",
    "inner_encoder": "encoder",
    "preset": "preset",
    "latency": "latency",
    "bf": "bf",
    "maxrate": "maxrate",
    "bufsize": "bufsize",
    "inner_scale": "scale",
    "background": "background",
}
#: Of them those that say how an encoder is used, whichever it is.
_EITHER = ("latency",)
_COMMON_OPTIONS = {"b": "b", "simplify": "simplify", "roi": "roi"}
_Q, _GOP = 24, 50
_PATTERN_TYPES = one_of("sequence", "glob", "glob_sequence", "none")
_MACHINES = one_of("neural", "inner", "copy", "auto")
_INPUT, _OUTPUT = Scope.INPUT, Scope.OUTPUT
# fmt: off
TABLE = (
    *GLOBAL_OPTIONS,
    DEVICE_OPTION,
    HWACCEL_OPTION,
    FORMAT_OPTION,
    *CUT_OPTIONS,
    CommandOption("r", "rate", "input: frames come at this rate; output: drop or repeat to it", FILES, frame_rate),
    CommandOption("threads", "n", "input: of the decoder; output: of the networks; 0: all", FILES, integer(0, 1024)),
    CommandOption("framerate", "rate", "rate of an image sequence or raw video", _INPUT, frame_rate),
    CommandOption("pattern_type", "type", "how a name means images: sequence, glob, none", _INPUT, _PATTERN_TYPES),
    CommandOption("start_number", "n", "first number of an image sequence", _INPUT, integer(0)),
    CommandOption("loop", "0|1", "repeat an image for ever", _INPUT, integer(0, 1)),
    CommandOption("s", "WxH", "size of raw video", _INPUT, size, aliases=("video_size",)),
    CommandOption("pix_fmt", "format", "pixel format of raw video", _INPUT, aliases=("pixel_format",)),
    CommandOption("noautorotate", "", "do not turn pictures upright", _INPUT),
    CommandOption("vf", "graph", "filters before the encoder, libavfilter's and ours", _OUTPUT, aliases=("filter",),
                  specifiers=("v",)),
    CommandOption("q", "0..63", "quality; 63 is best (24)", _OUTPUT, integer(0, 63), specifiers=("v",)),
    CommandOption("g", "frames", "from one key frame to the next (50)", _OUTPUT, integer(1, 1 << 20)),
    CommandOption("profile", "name", "bundled profile or folder (s)", _OUTPUT),
    CommandOption("machine", "codec", "codec of the machine layer: neural, inner (a standard codec inside), copy (the "
                  "input's packets as they are), auto (by what was measured with the profile)", _OUTPUT, _MACHINES),
    CommandOption("inner_codec", "codec", "inner: h264, hevc or av1 (hevc)", _OUTPUT, one_of(*CODEC_NAMES)),
    CommandOption("inner_encoder", "name", "inner: libavcodec's encoder, e.g. libx265 or hevc_nvenc", _OUTPUT,
                  one_of(*ENCODERS)),
    CommandOption("preset", "name", "inner: the encoder's own preset", _OUTPUT),
    CommandOption("latency", "latency", "inner: full looks ahead and reorders, zero does neither", _OUTPUT,
                  one_of(*LATENCIES)),
    CommandOption("bf", "n", "inner: frames between references at most; 0 keeps packets in order", _OUTPUT,
                  integer(0, 16)),
    CommandOption("b", "rate", "bits per second, e.g. 200k, instead of -q", _OUTPUT, bit_rate,
                  specifiers=("v",)),
    CommandOption("maxrate", "rate", "inner: bits per second at which a buffer fills (VBV)", _OUTPUT, bit_rate,
                  specifiers=("v",)),
    CommandOption("bufsize", "bits", "inner: size of that buffer", _OUTPUT, bit_rate, specifiers=("v",)),
    CommandOption("inner_scale", "share", "inner: code pictures at this share of their width and height, 0.25 to 1 (1; "
                  "x264 and x265 at a low -q less)", _OUTPUT, share),
    CommandOption("simplify", "guide", "what tells which parts get fewer bits: detections, saliency, auto, off",
                  _OUTPUT, one_of(*GUIDES)),
    CommandOption("roi", "x:y:w:h[:weight]", "a region, in pixels; weight 1 keeps all of it (1), -1 nothing",
                  _OUTPUT, region, repeat=True),
    CommandOption("background", "time", "inner: seconds from one picture of the still background to the next, which "
                  "key frames refer to (60 in files that can be sought in); 0 for key frames that need nothing else",
                  _OUTPUT, positive_duration),
    CommandOption("texture", "depth", "depth of the texture layer, and TILE=DEPTH where tiles differ, as in "
                  "2,0=6 (0)", _OUTPUT, texture_depths),
    CommandOption("texture_frames", "frames", "frames that carry texture: key or all (key)", _OUTPUT, one_of(*FRAMES)),
    CommandOption("texture_guide", "source", f"what tells where texture goes deeper: {', '.join(GUIDES)} (off)",
                  _OUTPUT, one_of(*GUIDES)),
    CommandOption("texture_roi", "x:y:w:h[:weight]", "a region where texture goes deeper, in pixels", _OUTPUT, region,
                  repeat=True),
    CommandOption("texture_tile", "log2", "log2 of a texture tile's side in 8 pixels, 3 to 8 (6)", _OUTPUT,
                  integer(LEAST_TILE_LOG2, MOST_TILE_LOG2)),
    CommandOption("texture_b", "rate", "bits of texture per second; it is cut where that costs least", _OUTPUT,
                  bit_rate, specifiers=("v",)),
    CommandOption("caption", "caption", "what human views are told is seen: auto, what a dv_detect in -vf finds; none; "
                  "or a text, such as '2 person left, 1 car right still' (none)", _OUTPUT, caption),
    CommandOption("seeds", "n", "neural: try so many seeds of the human view at key frames, and send the number of the "
                  "best one (0)", _OUTPUT, integer(0, MOST_SEEDS)),
    CommandOption("map", "0[:v|a|s|d][:n]", "streams to take; those that are not video pass through", _OUTPUT,
                  read_map, repeat=True),
    CommandOption("c", "copy", "-c:a copy passes audio through", _OUTPUT, specifiers=("v", "a", "s", "d"),
                  aliases=("codec",)),
    *NO_STREAM_OPTIONS,
)
# fmt: on


def usage() -> str:
    """The help of the command."""
    head = "duoview encode [input options] -i input [output options] output.{nut,mov,avi,mp4,ts,dv}"
    return "\n".join((head, "", *help_lines(TABLE)))


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    line = split(arguments, TABLE)
    console = Console(line.globals.get("loglevel", LEVELS["info"]))
    job = read_job(line)
    claim(job.output, job.source.url, line.globals, console)
    if job.chosen is not None:
        console.info(f"{job.output}: machine codec {job.machine}, chosen by auto: {job.chosen.reason}")
    work = carry if job.machine == "copy" else encode
    result = work(job, console, progress_url=line.globals.get("progress"), stats=stats_wanted(line))
    console.info(f"{job.output}: {result.frames} frames, {result.bytes} bytes of access units")
    return EXIT_CODE if result.interrupted else 0


def read_job(line: CommandLine) -> EncodeJob:
    """Turn a split command line into a job. Raises UsageError."""
    source, output = one_input_one_output(line, "encode")
    codecs = {key: value for key, value in output.values.items() if key.partition(":")[0] == "c"}
    for key, value in codecs.items():
        if key in ("c", "c:v") and value in ("duoview", "dv_encode"):
            continue
        if value != "copy" or key == "c:v":
            expected = (
                "duoview, the only one" if key == "c:v" else "copy, the only way audio and other streams go through"
            )
            raise UsageError(f"-{key} {value}: expected {expected}")
    values = source.values
    options = {name: str(values[key]) for key, name in _DEMUXER_OPTIONS.items() if key in values}
    copies_audio = any(value == "copy" and key in ("c", "c:a") for key, value in codecs.items())
    settings = InputSettings(
        url=source.url,
        format=source.get("f"),
        options=options,
        seek=source.get("ss"),
        duration=input_duration(source.get("ss"), source.get("t"), source.get("to")),
        rate=source.get("r"),
        threads=source.get("threads", 0),
        autorotate="noautorotate" not in values,
        maps=output.get("map", ()),
        copy_audio=copies_audio and not output.get("an"),
        hwaccel=source.get("hwaccel", "none"),
    )
    machine, chosen = output.get("machine", "neural"), None
    if machine == "auto":
        chosen = _chosen(output, settings.hwaccel)
        machine = chosen.machine
    device = line.globals.get("device", "cpu")
    if settings.hwaccel != "none":
        check_encode({"machine": machine, "device": device}, "", None)  # before what only belongs to another codec
    if machine == "copy":
        refuse_recoding(source, output)
    quality = output.get("q:v", output.get("q", 48 if machine == "copy" else _Q))
    job = EncodeJob(
        source=settings,
        output=output.url,
        format=output.get("f"),
        filters=output.get("vf", output.get("vf:v", "")),
        q=quality,
        gop=output.get("g", _GOP),
        profile=output.get("profile", "s"),
        device=device,
        threads=output.get("threads", 0),
        rate=output.get("r"),
        cut=Cut.of(output),
        machine=machine,
        chosen=chosen,
        inner=_inner_options(output, machine, chosen=chosen is not None),
        common=_common_options(output, machine),
        texture=_texture_options(output, machine),
        hints=_hint_options(output, machine),
    )
    if settings.hwaccel != "none":
        check_encode({**job.common, **job.texture, **job.hints}, job.filters, job.rate)
    return job


def _chosen(output: FileArguments, hwaccel: str) -> MachineChoice:
    """What ``-machine auto`` comes to: options that only one codec has decide, else what was measured."""
    named = [option for option in _INNER_OPTIONS if option not in _EITHER
             and output.get(f"{option}:v", output.get(option)) is not None]
    stills = output.get("g", _GOP) == 1 or output.get("frames:v", output.get("frames")) == 1
    point = OperatingPoint(output.get("q:v", output.get("q", _Q)), output.get("latency", "full"), stills)
    neural = "-texture" if output.get("texture", Depths(0)).most() else "-seeds" if output.get("seeds") else ""
    neural = neural or (f"-hwaccel {hwaccel}" if hwaccel != "none" else "")
    return decide(output.get("profile", "s"), point, inner=f"-{named[0]}" if named else "", neural=neural)


def _texture_options(output: FileArguments, machine: str) -> dict[str, Any]:
    """The options of dv_encode that belong to texture, by its names. Raises UsageError where they cannot be had."""
    depths: Depths = output.get("texture", Depths(0))
    rate, frames = output.get("texture_b:v", output.get("texture_b")), output.get("texture_frames")
    guide, regions, tile = (output.get(f"texture_{name}") for name in ("guide", "roi", "tile"))
    if not depths.most():
        for name, value in (("texture_b", rate), ("texture_frames", frames), ("texture_guide", guide),
                            ("texture_roi", regions), ("texture_tile", tile)):
            if value is not None:
                raise UsageError(f"-{name}: belongs to texture; expected -texture 1 or more with it")
        return {}
    if machine == "copy":
        raise UsageError(f"-texture {depths}: -machine copy decodes no picture to code texture of; expected -machine "
                         "neural or inner with it")
    if machine != "neural" and frames == "all":
        raise UsageError("-texture_frames all: belongs to the neural codec; expected -machine neural with it, or key")
    return {"texture": str(depths), "texture_b": rate or 0, "texture_frames": frames or "key",
            "texture_guide": guide or "off", "texture_roi": "|".join(regions or ()),
            "texture_tile": tile or DEFAULT_TILE_LOG2}


def _common_options(output: FileArguments, machine: str) -> dict[str, Any]:
    """The options of dv_encode that both codecs have and a copy has not, by its names. Raises UsageError for that."""
    found: dict[str, Any] = {}
    for option, name in _COMMON_OPTIONS.items():
        value = output.get(f"{option}:v", output.get(option))
        if value is not None:
            if machine == "copy":
                raise UsageError(f"-{option}: nothing is coded with -machine copy; expected neural, inner or auto")
            found[name] = "|".join(value) if option == "roi" else value
    return found


def _hint_options(output: FileArguments, machine: str) -> dict[str, Any]:
    """The options of dv_encode that tell human views something, by its names. Raises UsageError for another codec."""
    found = {name: output.get(name) for name in ("caption", "seeds") if output.get(name) is not None}
    if found.get("seeds") and machine != "neural":
        raise UsageError(f"-seeds {found['seeds']}: belongs to the neural codec; expected -machine neural with it")
    if found.get("caption", "none") != "none" and machine == "copy":
        raise UsageError(f"-caption {found['caption']}: packets are copied as they are; expected -machine neural or "
                         "inner with it")
    return found


def _inner_options(output: FileArguments, machine: str, *, chosen: bool) -> dict[str, Any]:
    """The options of dv_encode that belong to the inner codec, by its names. Raises UsageError without that codec.

    chosen: by ``auto``, which takes neural with any latency: it has none.
    """
    found: dict[str, Any] = {}
    for option, name in _INNER_OPTIONS.items():
        value = output.get(f"{option}:v", output.get(option))
        if value is None:
            continue
        if machine != "inner":
            if chosen and option in _EITHER:
                continue
            raise UsageError(f"-{option}: belongs to the inner codec; expected -machine inner with it")
        found[name] = float(value) if option == "background" else value
    if "encoder" in found:
        codec = next(name for name, kind in CODEC_NAMES.items() if kind is ENCODERS[found["encoder"]].codec)
        if found.setdefault("codec", codec) != codec:
            raise UsageError(f"-inner_encoder {found['encoder']}: makes {codec}, not {found['codec']}")
    if machine == "inner" and "background" not in found and _is_broadcast(output):
        found["background"] = 0.0
    return found


def _is_broadcast(output: FileArguments) -> bool:
    """True where readers may join at any key frame, and cannot go back to what came before it."""
    path = Path(output.url)
    device = path.exists() and not path.is_file()
    format_ = output.get("f", path.suffix[1:]).lower()
    return is_pipe(output.url) or device or format_ in ("mpegts", "ts")


def encode(
    job: EncodeJob, console: Console, *, progress_url: str | None = None, stats: bool | None = None
) -> EncodeResult:
    """Encode a file. What was encoded before a failure stays in the finished file; the failure is raised after that."""
    profile = Profile(job.profile)  # a wrong profile is named before any file is touched
    if job.texture:
        profile.texture()
    common = {"q": job.q, "gop": job.gop, "profile": job.profile, "device": job.device, "threads": job.threads,
              "hwaccel": job.source.hwaccel}
    try:
        encoder = Encode(**common, machine=job.machine, **job.common, **job.inner, **job.texture, **job.hints)
    except LimitError as error:
        raise UsageError(str(error)) from error
    filters = video_filters(job.filters, job.rate)
    with ExitStack() as stack:
        source = VideoInput(job.source, console)
        stack.callback(source.close)
        stack.callback(encoder.close)  # after a failure, what waits in it is not encoded
        output = AccessUnitOutput(job.output, job.format, source.copied)
        zero = Fraction(0) if job.source.seek is not None else source.origin
        cut = Cut(zero, job.cut.start, job.cut.duration, job.cut.frames)
        expected = cut.expected(source.expected, job.rate or source.rate)
        progress = Progress(console, url=progress_url, stats=stats, expected=expected)
        stack.callback(progress.finish)
        interrupt = stack.enter_context(Interrupt())
        work = _Encoding(source, filters, encoder, output, cut, progress)
        run_and_finish(lambda: work.run(interrupt), output.close)
        if work.order.dropped:
            console.warning(work.order.complaint(source.name))
        if not output.packets and not interrupt.requested:
            raise MediaError(f"{job.output}: nothing was encoded; -ss, -t or the filters leave no frame")
        return EncodeResult(output.packets, output.size, interrupt.requested)


class _Encoding:
    """One run: frames through the filters, the cut and the encoder into the output."""

    def __init__(
        self,
        source: VideoInput,
        filters: tuple[Flow, ...],
        encoder: Encode,
        output: AccessUnitOutput,
        cut: Cut,
        progress: Progress,
    ) -> None:
        self.source, self.encoder, self.output = source, encoder, output
        self.filters = Graph(filters) if filters else None
        self.cut, self.progress = cut, progress
        self.order = TimeOrder()
        self.kept = 0
        self.begun = False

    def run(self, interrupt: Interrupt) -> None:
        try:
            for item in self.source.read():
                if isinstance(item, av.VideoFrame):
                    if self._take(item):
                        return
                elif not self.cut.is_before(item) and not self.cut.is_after(item, 0) and not is_priming(item):
                    shift_item(item, self.cut.start)
                    self.output.copy(item)
                if interrupt.requested:
                    return
            if self.filters is not None:
                self.filters.push(None)
                self._pass_on()
        finally:
            if not self.output.failed:
                self.encoder.push(None)
                self._drain()

    def _take(self, frame: av.VideoFrame) -> bool:
        """Work on a frame of the input; True when no more are needed."""
        if not self.begun:
            self._begin(frame)
        if self.filters is None:
            return self._keep(frame)
        self.filters.push(frame)
        return self._pass_on()

    def _begin(self, frame: av.VideoFrame) -> None:
        self.begun = True
        turn = rotation_filters(frame) if self.source.settings.autorotate else ""
        if self.source.settings.hwaccel != "none":
            check_frame(frame, turn, self.source.name)
        if turn:
            self.filters = Graph((Graph.parse(turn), *(self.filters.flows if self.filters is not None else ())))
        first = self.filters if self.filters is not None else self.encoder
        first.before = self.source.link()

    def _pass_on(self) -> bool:
        assert self.filters is not None
        for frame in self.filters.ready():
            if self.encoder.before is None or self.encoder.before != self.filters.link:
                self.encoder.before = self.filters.link
            if self._keep(frame):
                return True
        return False

    def _keep(self, frame: Any) -> bool:
        if self.cut.is_before(frame):
            return False
        if self.cut.is_after(frame, self.kept):
            return True
        shift_item(frame, self.cut.start)
        if not self.order.admits(frame):
            return False
        frame.pict_type = 0
        self.kept += 1
        self.encoder.push(frame)
        self._drain()
        return self.cut.frames is not None and self.kept >= self.cut.frames

    def _drain(self) -> None:
        for packet in self.encoder.ready():
            assert isinstance(packet, av.Packet)
            at = (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base) if packet.pts is not None else None
            assert self.encoder.link is not None  # a packet came out of it
            self.output.write(packet, self.encoder.link)
            self.progress.advance(1, packet.size, at - self.cut.zero if at is not None else None)


def one_input_one_output(line: CommandLine, command: str) -> tuple[Any, Any]:
    """The one input and the one output of a command line. Raises UsageError."""
    for files, kind, example in ((line.inputs, "input", "-i in.mp4"), (line.outputs, "output", "out.nut")):
        if len(files) != 1:
            found = (
                "none was given" if not files else f"{len(files)} were given: {', '.join(item.url for item in files)}"
            )
            raise UsageError(f"{command}: expected one {kind}, as in {example}; {found}")
    return line.inputs[0], line.outputs[0]


def input_duration(seek: Fraction | None, duration: Fraction | None, to: Fraction | None) -> Fraction | None:
    """How long to read: ``-t``, or up to ``-to`` on the input's clock. Raises UsageError when nothing is left."""
    if duration is not None or to is None:
        return duration
    if to <= (seek or 0):
        raise UsageError(f"-to {float(to):g}: expected a time behind -ss {float(seek or 0):g}")
    return to - (seek or Fraction(0))
