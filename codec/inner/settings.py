"""How the standard codec inside access units is run: codec, encoder, quality, latency, rate control."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass

from duoview.errors import LimitError
from duoview.machine import MAX_Q

from .importance import Region

LATENCIES = ("full", "zero")
GUIDES = ("auto", "detections", "saliency", "off")
MAX_THREADS = 1024
MAX_GOP = 1 << 20
#: Seconds from one background picture to the next, where nothing else is asked for; and at most.
BACKGROUND, MAX_BACKGROUND = 60.0, 86400.0
_MAX_BITS = (1 << 31) - 1  # what libavcodec's rate control holds
_MAX_FINER = 12  # steps of the constant rate factor: a factor of four in rate


#: Pictures of at least so many pixels are coded smaller at low qualities: detectors see more in them then, at equal
#: bytes. Below a quality (the first), at a share of their sides (the second), and finer by so many steps of the
#: constant rate factor at q 0 (the third), and by one more for so many qualities above (the fourth): that costs about
#: as many bytes as at full size at the upper limit, and ends at the coarsest that there is.
SMALL_FROM = 400 * 225
SMALL = ((1, 0.4, -1.0, 1.0), (4, 0.5, -1.0, 0.7), (8, 0.7, 0.0, 2.0))


class InnerCodec(enum.IntEnum):
    """The standard codec of an inner machine layer; the numbers are those of the stream."""

    H264 = 1
    HEVC = 2
    AV1 = 3


CODEC_NAMES = {"h264": InnerCodec.H264, "hevc": InnerCodec.HEVC, "av1": InnerCodec.AV1}


@dataclass(frozen=True)
class EncoderKind:
    """An encoder that libavcodec may have: its codec, its crf at q 0 and q 63, and the presets it knows.

    The pictures of encoders with `reorders` may come in another order than they are shown. `smallest` is the least
    width and height in pixels that it takes. `regions`: libavcodec hands quantisers of regions on to it.
    `repeats`: without lookahead into what follows, it makes the same packet of the same first picture again.
    """

    codec: InnerCodec
    coarsest: float
    finest: float
    preset: str
    reorders: bool = True
    hardware: bool = False
    smallest: int = 2
    regions: bool = False
    repeats: bool = False


#: The first of each codec is its default. The scales of crf differ: a factor of two in rate is about 6 steps of x264's
#: and x265's, and about 9 of SVT-AV1's, so that q spans more than 20:1 with each of them.
ENCODERS = {
    "libx264": EncoderKind(InnerCodec.H264, 50, 15, "slow", regions=True, repeats=True),
    "libx265": EncoderKind(InnerCodec.HEVC, 50, 15, "slow", smallest=64, regions=True, repeats=True),
    "libsvtav1": EncoderKind(InnerCodec.AV1, 63, 12, "6", reorders=False, smallest=64),
    "h264_nvenc": EncoderKind(InnerCodec.H264, 51, 15, "p5", hardware=True, smallest=256),
    "hevc_nvenc": EncoderKind(InnerCodec.HEVC, 51, 15, "p5", hardware=True, smallest=256),
    "av1_nvenc": EncoderKind(InnerCodec.AV1, 63, 12, "p5", reorders=False, hardware=True, smallest=256),
}


@dataclass(frozen=True)
class InnerSettings:
    """Settings of the inner encoder. Values that cannot be raise LimitError when it is made.

    codec: ``h264``, ``hevc`` or ``av1``. encoder: libavcodec's name of one, empty for the codec's software encoder;
    one that does not work here is an error, never replaced. preset: the encoder's own, empty for our default.
    q: 0 (smallest) to 63 (best), mapped linearly onto the encoder's constant rate factor: 50 to 15 for H.264 and HEVC,
    63 to 12 for AV1. gop: frames from one key frame to the next, at most; a cut of the scene may start one earlier.
    latency: ``full`` lets the encoder look ahead and reorder frames, ``zero`` gives every frame its packet at once.
    b_frames: frames between two references at most, None for the encoder's choice, 0 for packets in the order of their
    frames. scene_cuts: libx264 and libx265 start a key frame at a cut. threads: 0 for all cores.
    bit_rate: bits per second on average instead of a constant quality, 0 for none. maxrate, bufsize: bits per second
    and bits of a buffer that is filled at that rate and never runs empty (VBV); both or neither. libsvtav1 takes them
    with constant quality only, and keeps to them loosely.
    scale: share of the source's width and height at which pictures are coded, 0.25 to 1; views have the source's size.
    None chooses by quality and size: at low qualities libx264 and libx265 code pictures of SMALL_FROM pixels and more
    at a share of their sides, and finer instead, as SMALL says.
    simplify: what tells which parts detectors look at; the others get fewer bits. ``detections`` that frames carry,
    ``saliency`` of the profile's network, ``auto`` for the first of them that is there, ``off``. roi: regions that are
    told beforehand, whose weights raise or lower the importance of what lies in them. Both need an encoder that takes
    regions, libx264 or libx265; with another one ``auto`` is ``off``.
    background: seconds for which key frames may refer to one picture of the background, which one of them carries; 0
    for key frames that need nothing else. It needs libx264 or libx265 at a constant quality; None is BACKGROUND with
    them and 0 with others.
    """

    codec: str = "hevc"
    encoder: str = ""
    preset: str = ""
    q: int = 24
    gop: int = 50
    latency: str = "full"
    b_frames: int | None = None
    threads: int = 0
    bit_rate: int = 0
    maxrate: int = 0
    bufsize: int = 0
    scene_cuts: bool = True
    scale: float | None = None
    simplify: str = "auto"
    roi: tuple[Region, ...] = ()
    background: float | None = None
    #: Steps of the constant rate factor by which pictures that `sized` chose to make smaller are coded finer.
    finer: float = 0.0

    def __post_init__(self) -> None:
        if self.codec not in CODEC_NAMES:
            raise LimitError(f"inner codec {self.codec!r}: expected one of {', '.join(CODEC_NAMES)}")
        of_codec = [name for name, kind in ENCODERS.items() if kind.codec is CODEC_NAMES[self.codec]]
        if self.encoder and self.encoder not in of_codec:
            raise LimitError(f"inner encoder {self.encoder!r}: expected one of {', '.join(of_codec)} for {self.codec}")
        if self.latency not in LATENCIES:
            raise LimitError(f"latency {self.latency!r}: expected one of {', '.join(LATENCIES)}")
        for name, least, most in (("q", 0, MAX_Q), ("gop", 1, MAX_GOP), ("threads", 0, MAX_THREADS),
                                  ("bit_rate", 0, _MAX_BITS), ("maxrate", 0, _MAX_BITS), ("bufsize", 0, _MAX_BITS)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise LimitError(f"{name}={value}: expected {least} to {most}")
        if not -_MAX_FINER <= self.finer <= _MAX_FINER:
            raise LimitError(f"finer={self.finer}: expected -{_MAX_FINER} to {_MAX_FINER} steps")
        if self.b_frames is not None and not 0 <= self.b_frames <= 16:
            raise LimitError(f"b_frames={self.b_frames}: expected 0 to 16")
        if (self.maxrate == 0) != (self.bufsize == 0):
            raise LimitError(f"maxrate={self.maxrate} and bufsize={self.bufsize}: expected both or neither")
        if self.maxrate and self.bit_rate > self.maxrate:
            raise LimitError(f"bit_rate={self.bit_rate}: expected at most maxrate, {self.maxrate}")
        if self.scale is not None and not 0.25 <= self.scale <= 1:
            raise LimitError(f"scale={self.scale}: expected 0.25 to 1")
        if not self.encoder:
            object.__setattr__(self, "encoder", of_codec[0])
        if self.simplify not in GUIDES:
            raise LimitError(f"simplify={self.simplify!r}: expected one of {', '.join(GUIDES)}")
        if not self.kind.regions and (self.roi or self.simplify in ("detections", "saliency")):
            able = ", ".join(name for name, kind in ENCODERS.items() if kind.regions)
            what = "roi" if self.roi else f"simplify={self.simplify}"
            raise LimitError(f"{what} with {self.encoder}, which takes no regions; expected one of {able}")
        if self.background is not None and not 0 <= self.background <= MAX_BACKGROUND:
            raise LimitError(f"background={self.background}: expected 0 to {MAX_BACKGROUND} seconds")
        if self.background and not self._repeats:
            raise LimitError(f"background={self.background} with {self.encoder}, bit_rate={self.bit_rate}, "
                             f"maxrate={self.maxrate} and gop={self.gop}: expected 0; only libx264 and libx265 at a "
                             "constant quality make the same picture again, and only P frames can refer to it")
        if self.encoder == "libsvtav1" and self.bit_rate and self.maxrate:
            raise LimitError(f"bit_rate={self.bit_rate} with maxrate={self.maxrate}: expected one of them; libsvtav1 "
                             "bounds the rate of a constant quality only")

    @property
    def _repeats(self) -> bool:
        return self.kind.repeats and not self.bit_rate and not self.maxrate and self.gop > 1

    @property
    def background_seconds(self) -> float:
        """From one background picture to the next; 0 for none."""
        if self.background is not None:
            return self.background
        return BACKGROUND if self._repeats else 0.0

    @property
    def kind(self) -> EncoderKind:
        """What is known of the encoder."""
        return ENCODERS[self.encoder]

    @property
    def _without_aq(self) -> bool:
        return (self.preset or self.kind.preset) in ("ultrafast", "superfast")

    @property
    def takes_regions(self) -> bool:
        """True when parts of a picture can have quantisers of their own.

        That needs adaptive quantisation, which the fastest presets leave out unless it is known to be needed.
        """
        return self.kind.regions and bool(self.simplify != "off" or self.roi or not self._without_aq)

    @property
    def reorders(self) -> bool:
        """True when packets may come in another order than their frames."""
        return self.kind.reorders and self.latency == "full" and self.b_frames != 0 and self.gop > 1

    def sized(self, width: int, height: int) -> InnerSettings:
        """These settings with a scale, for pictures of this size."""
        if self.scale is not None:
            return self
        if self.kind.regions and not self.bit_rate and width * height >= SMALL_FROM:
            for below, scale, finer, step in SMALL:
                if self.q < below:
                    return dataclasses.replace(self, scale=scale, finer=finer + self.q / step)
        return dataclasses.replace(self, scale=1.0)

    @property
    def crf(self) -> float:
        """The constant rate factor of q, in quarters, which all encoders hold exactly."""
        kind = self.kind
        return round(4 * (kind.coarsest + (kind.finest - kind.coarsest) * self.q / MAX_Q - self.finer)) / 4

    def options(self) -> dict[str, str]:
        """The encoder's options, by libavcodec's names; b-frames, rates and thread count are among them."""
        zero, crf = self.latency == "zero", f"{self.crf:g}"
        found = {"preset": self.preset or self.kind.preset, "g": str(self.gop)}
        if self.b_frames is not None and self.kind.reorders:
            found["bf"] = str(0 if zero else self.b_frames)
        if self.bit_rate:
            found["b"] = str(self.bit_rate)
        if self.maxrate:
            found |= {"maxrate": str(self.maxrate), "bufsize": str(self.bufsize)}
        if self.kind.hardware:
            found |= {"forced-idr": "1", "rc": "vbr"} | ({"tune": "ull", "zerolatency": "1"} if zero else {})
            return found if self.bit_rate else found | {"cq": crf, "b": "0"}
        if not self.bit_rate:
            found["crf"] = crf
        if self.encoder == "libsvtav1":
            own = ["pred-struct=1", "lookahead=0"] if zero else []
            own += [f"lp={self.threads}"] if self.threads else []
            own += ["rc=1"] if self.bit_rate else []
            return found | ({"svtav1-params": ":".join(own)} if own else {})
        found |= {"forced-idr": "1"} | ({"tune": "zerolatency"} if zero else {})
        if self.background_seconds:
            # The groups of pictures are told by us, and there is nothing to refer to behind them.
            found["g"] = str(MAX_GOP)
        found |= {"sc_threshold": "0"} if self.encoder == "libx264" and not self.scene_cuts else {}
        bare = self._without_aq and self.takes_regions
        found |= {"aq-mode": "1"} if self.encoder == "libx264" and bare else {}
        # What looks sharp to people costs detectors bits: without it x264 needs 5 to 15 % less at equal AP75.
        found |= {"psy": "0", "mbtree": "0"} if self.encoder == "libx264" else {}
        if self.encoder == "libx265":
            # Parameter sets in every key frame, closed groups, and no banner of the encoder's settings in the stream.
            # Wavefronts would cost 18 bytes a frame at 640x360, a tenth of all at low rates. Frames are coded side
            # by side without them.
            # Without cutree: with it, the same picture would not be the same packet. It also takes bits from what moves
            # for what stays: at equal AP75 20 to 25 % of two clips; in two crowds it is worth 3 to 8 %. Of those a
            # greater difference between P and B frames brings back 3 to 10 %.
            own = ["log-level=none", "info=0", "open-gop=0", "repeat-headers=1", "wpp=0", "cutree=0",
                   "lookahead-slices=0", "qcomp=1", "psy-rdoq=0", "pbratio=1.5"]
            own += ["aq-mode=1", "aq-strength=1"] if bare else []
            own += [] if self.scene_cuts else ["scenecut=0"]
            own += [f"pools={self.threads}"] if self.threads else []
            found["x265-params"] = ":".join(own)
        return found
