"""``dv_encode``: video frames in, access units out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import av

from duoview.batching import LARGEST_BATCH, LONGEST_WINDOW
from duoview.captions.told import read_mode
from duoview.device import DeviceFrameEncoder
from duoview.device.hardware import is_held
from duoview.encoder import MACHINES, Encoder
from duoview.errors import Error, LimitError
from duoview.inner.importance import Region
from duoview.inner.settings import CODEC_NAMES, GUIDES, LATENCIES, MAX_BACKGROUND, InnerSettings
from duoview.machine_choice import MachineChoice, OperatingPoint, decide
from duoview.neural_settings import NeuralSettings
from duoview.plugins.errors import FrameError
from duoview.plugins.hwaccel import HWACCEL_HELP, HWACCELS, OF_ENCODERS, OF_PROGRAM, check_host_only
from duoview.plugins.links import Link, LinkType
from duoview.plugins.options import option
from duoview.plugins.stage import Stage
from duoview.plugins.stream_batch import UNSHARED, StreamBatch
from duoview.seed_search import MOST_SEEDS
from duoview.texture import FRAMES, Depths, TextureSettings
from duoview.texture.geometry import DEFAULT_TILE_LOG2, LEAST_TILE_LOG2, MOST_TILE_LOG2

# Nominal frames per second where nobody knows better, as ffmpeg assumes; times never depend on it.
UNKNOWN_RATE = Fraction(25)
_OF_INNER = ("codec", "encoder", "preset", "latency", "bf", "maxrate", "bufsize", "scale", "background")
# Of them those that say how an encoder is used, whichever it is.
_OF_EITHER = ("latency",)


class Encode(Stage):
    """Encode frames for machines: one access unit a frame, by our networks or by a standard codec inside.

    Attributes:
        machine: the codec, neural or inner. chosen: why, where it was left to machine=auto; else None.
    """

    name = "dv_encode"
    latency: ClassVar[str] = "full"  # what auto is
    stream_batch: ClassVar[StreamBatch] = UNSHARED
    input = LinkType.VIDEO
    output = LinkType.ACCESS_UNITS

    @dataclass(frozen=True)
    class Options:
        """Options of dv_encode."""

        q: int = option(24, min=0, max=63, help="quality; 0 smallest, 63 best")
        gop: int = option(50, min=1, max=1 << 20, alias="g", help="frames from one key frame to the next")
        profile: str = option("s", help="bundled profile or a folder with profile.json")
        device: str = option("cpu", choices=("auto", "cpu", "cuda", "tensorrt"), help="where the networks run")
        threads: int = option(0, min=0, max=1024, help="threads of the networks or the inner codec, 0 for one per core")
        machine: str = option("neural", choices=(*MACHINES, "auto"), help="codec of the machine layer; inner: a "
                             "standard one; auto: by what was measured with the profile")
        codec: str = option("hevc", choices=tuple(CODEC_NAMES), help="inner: the standard codec")
        encoder: str = option("", help="inner: libavcodec's encoder; software where none is named")
        preset: str = option("", help="inner: the encoder's own preset")
        latency: str = option("auto", choices=("auto", *LATENCIES), help="inner: look ahead and reorder, or zero; "
                              "auto: full, and zero in duoview run")
        bf: int = option(-1, min=-1, max=16, help="inner: frames between references, -1 for the encoder's choice")
        b: int = option(0, min=0, max=(1 << 31) - 1, help="bits per second, 0 for constant quality")
        maxrate: int = option(0, min=0, max=(1 << 31) - 1, help="inner: bits per second at which the buffer fills")
        bufsize: int = option(0, min=0, max=(1 << 31) - 1, help="inner: bits of that buffer, 0 for none")
        scale: float = option(0.0, min=0.0, max=1.0, help="inner: share of width and height that is coded, 0.25 to 1, "
                              "or 0 for by quality and size")
        simplify: str = option("auto", choices=GUIDES, help="what tells which parts get fewer bits")
        roi: str = option("", help="regions, x:y:w:h:weight in pixels, weight -1 to 1; several divided by |")
        background: float = option(-1.0, min=-1.0, max=MAX_BACKGROUND, help="inner: seconds from one picture of the "
                                   "still background to the next, 0 for none, -1 for the default")
        texture: str = option("0", help="depth of texture, 0 for none; TILE=DEPTH for tiles that differ: 2,0=6")
        texture_frames: str = option("key", choices=FRAMES, help="frames that carry texture")
        texture_b: int = option(0, min=0, max=(1 << 31) - 1, help="bits of texture per second, 0 for no limit")
        texture_guide: str = option("off", choices=GUIDES, help="what tells where texture goes deeper")
        texture_roi: str = option("", help="regions where texture goes deeper, x:y:w:h:weight; several divided by |")
        texture_tile: int = option(DEFAULT_TILE_LOG2, min=LEAST_TILE_LOG2, max=MOST_TILE_LOG2,
                                   help="log2 of a texture tile's side, in 8 pixels")
        caption: str = option("none", help="what human views are told: none; auto, what dv_detect in front of it "
                              "found; or a text, such as 1 person left")
        seeds: int = option(0, min=0, max=MOST_SEEDS, help="neural: seeds that are tried for the human view at key "
                            "frames; the best one's number is sent")
        batch: int = option(0, min=0, max=LARGEST_BATCH, help="streams whose networks run at once, at most; 0: as the "
                            "program says, else 1")
        window: float = option(-1.0, min=-1.0, max=LONGEST_WINDOW, help="seconds that a frame waits for those of other "
                               "streams, at most; -1: as the program says, else 0.002")
        hwaccel: str = option(OF_PROGRAM, choices=HWACCELS, help=HWACCEL_HELP)

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self._on_device = self.stream_batch.where(self.options) != "none"
        if self._on_device:
            check_host_only(vars(self.options), OF_ENCODERS, lambda name, value: f"dv_encode: {name}={value}",
                            "hwaccel=none")
        self.chosen: MachineChoice | None = self._choice() if self.options.machine == "auto" else None
        self.machine: str = self.options.machine if self.chosen is None else self.chosen.machine
        self._inner_settings()  # what cannot be is told before the first frame
        self._neural_settings()
        self._texture_settings()
        self._caption = read_mode(self.options.caption)
        if self.options.seeds and self.machine != "neural":
            raise LimitError(f"dv_encode: seeds={self.options.seeds} belongs to machine=neural, not {self.machine}")
        self.encoder: Encoder | DeviceFrameEncoder | None = None

    def configure(self, link: Link) -> Link:
        """Make the encoder at the first frame; it handles later changes itself, by a new sequence header."""
        options = self.options
        if self.encoder is None and self._on_device:
            self.encoder = self._device_encoder(link)
        elif self.encoder is None:
            self.encoder = Encoder(
                link.width,
                link.height,
                rate=link.rate or UNKNOWN_RATE,
                q=options.q,
                gop=options.gop,
                profile=options.profile,
                device=options.device,
                threads=options.threads,
                sample_aspect=link.sample_aspect,
                machine=self.machine,
                inner=self._inner_settings(),
                neural=self._neural_settings(),
                texture=self._texture_settings(),
                caption=self._caption,
                seeds=options.seeds,
                **self.stream_batch.given(options),
            )
        return dataclasses.replace(link, type=LinkType.ACCESS_UNITS, format=None)

    def _device_encoder(self, link: Link) -> DeviceFrameEncoder:
        options = self.options
        networks = self.stream_batch.open_device(options.profile, options)
        return DeviceFrameEncoder(
            networks,
            link.width,
            link.height,
            held=is_held(link.format or "", networks),
            rate=link.rate or UNKNOWN_RATE,
            q=options.q,
            gop=options.gop,
            sample_aspect=link.sample_aspect,
            neural=self._neural_settings(),
            texture=self._texture_settings(),
            caption=self._caption,
        )

    def _choice(self) -> MachineChoice:
        options = self.options
        inner = [name for name in _OF_INNER if name not in _OF_EITHER and self._is_given(name)]
        point = OperatingPoint(options.q, self._latency, options.gop == 1)
        neural = "texture" if Depths.parse(options.texture).most() else "seeds" if options.seeds else ""
        neural = neural or ("hwaccel" if self._on_device else "")
        return decide(options.profile, point, neural=neural, inner=inner[0] if inner else "")

    def _is_given(self, name: str) -> bool:
        field = type(self.options).__dataclass_fields__[name]
        return bool(getattr(self.options, name) != field.default)

    @property
    def _latency(self) -> str:
        return self.latency if self.options.latency == "auto" else str(self.options.latency)

    def _texture_settings(self) -> TextureSettings | None:
        options = self.options
        depths = Depths.parse(options.texture)
        if not depths.most():
            for field in dataclasses.fields(options):
                if field.name.startswith("texture_") and self._is_given(field.name):
                    raise LimitError(f"dv_encode: {field.name}={getattr(options, field.name)} belongs to texture; "
                                     "expected texture=1 or more")
            return None
        if self.machine != "neural" and options.texture_frames == "all":
            raise LimitError(f"dv_encode: texture_frames=all belongs to machine=neural, not {self.machine}; expected "
                             "key")
        regions = tuple(Region.parse(part) for part in options.texture_roi.split("|") if part)
        return TextureSettings(depths, options.texture_frames, options.texture_b, tile_log2=options.texture_tile,
                               roi=regions, guide=options.texture_guide)

    def _inner_settings(self) -> InnerSettings | None:
        options = self.options
        if self.machine != "inner":
            for name in _OF_INNER:
                if self._is_given(name) and not (self.chosen is not None and name in _OF_EITHER):
                    raise LimitError(f"dv_encode: {name}={getattr(options, name)} belongs to machine=inner, not "
                                     f"{self.machine}")
            return None
        return InnerSettings(
            codec=options.codec,
            encoder=options.encoder,
            preset=options.preset,
            latency=self._latency,
            b_frames=None if options.bf < 0 else options.bf,
            threads=options.threads,
            bit_rate=options.b,
            maxrate=options.maxrate,
            bufsize=options.bufsize,
            scale=options.scale or None,
            simplify=options.simplify,
            roi=self._regions(),
            background=None if options.background < 0 else options.background,
        )

    def _neural_settings(self) -> NeuralSettings | None:
        options = self.options
        return NeuralSettings(options.simplify, self._regions(), options.b) if self.machine == "neural" else None

    def _regions(self) -> tuple[Region, ...]:
        return tuple(Region.parse(part) for part in self.options.roi.split("|") if part)

    def filter(self, frame: av.VideoFrame) -> Iterable[Any]:
        """The packets that are ready, one access unit each; the inner codec may hold frames back."""
        assert self.encoder is not None  # configure comes first
        try:
            return self.encoder.encode(frame)
        except ValueError as error:
            if isinstance(error, Error) or not self._on_device:
                raise
            raise FrameError(f"{self.label}: {error}") from error

    def drain(self) -> Iterable[Any]:
        """What the encoder still holds."""
        return self.encoder.encode(None) if self.encoder is not None else ()

    def reset(self) -> None:
        """Start a new stream with the next frame, which becomes a key frame."""
        super().reset()
        self.close()

    def close(self) -> None:
        """Drop the encoder and its networks; what waits in it is not encoded."""
        if self.encoder is not None:
            self.encoder.close()
        self.encoder = None
