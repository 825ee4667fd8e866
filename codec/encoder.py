"""Frames in, access units out."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from duoview import varint
from duoview.access_unit import KEY_COUNTS, AccessUnit, Section, SectionType, serialize
from duoview.backends import Backend, open_backend
from duoview.backends.batching import DEFAULT_WINDOW, BatchingBackend, open_stream_backend
from duoview.captions import Caption
from duoview.captions.section import CaptionHistory
from duoview.captions.telling import FrameCaptions
from duoview.decision import SymbolDecision
from duoview.errors import LimitError
from duoview.inner.guide import Guide
from duoview.inner.regions import told_regions
from duoview.inner.settings import InnerSettings
from duoview.inner.stream import CodedFrame, FrameTimes, InnerStream
from duoview.machine import MAX_Q, MachineLayer
from duoview.neural_settings import NeuralSettings
from duoview.picture import DEFAULT_MAX_PIXELS, PictureReader, check_size
from duoview.profile import Profile
from duoview.rate_control import RateControl
from duoview.region_gains import region_gains
from duoview.seed_search import SeedSearch
from duoview.sequence import Colour, MachineCodec, PaletteGeometry, SequenceHeader
from duoview.texture import TextureSettings
from duoview.texture.depths import Depths
from duoview.texture.encoder import TextureEncoder
from duoview.texture.guide import TextureGuide
from duoview.texture.inner import InnerTextureEncoder
from duoview.texture.view import Seen, TextureView

MACHINES = ("neural", "inner")


class UnitWriter:
    """Numbers the access units of a stream and makes packets of them.

    Nothing counts until the unit's bytes are made: if that fails, no later unit may refer to what nobody received.
    """

    def __init__(self) -> None:
        #: Of the last unit, counted from its key unit; -1 before the first unit.
        self.index = -1
        self._keys = 0
        self._told_q: int | None = None
        self._captions = CaptionHistory()
        #: Bytes that the last unit would have without texture, caption and seed: what a rate control goes by.
        self.machine_size = 0

    def write(self, section: Section, *, key: bool, q: int, sequence: SequenceHeader | None, times: FrameTimes,
              dts: int, gains: bytes = b"", background: Section | None = None, texture: Sequence[Section] = (),
              caption: Caption | None = None, seed: int | None = None) -> av.Packet:
        """The packet of one unit: its machine or inner section, and what a key unit and a change of q need beside.

        So does a change of the caption. gains: the unit's gain map, empty for none.

        Texture comes last: a unit that is cut short loses of it first.
        """
        machine = [background, section] if background is not None else [section]
        if key or gains or q != self._told_q:
            level = bytearray()
            varint.write(level, q)
            machine.insert(0, Section(SectionType.QUALITY, None, bytes(level) + gains))
        beside = []
        told = self._captions.payload(caption, key=key)
        if told is not None:
            beside.append(Section(SectionType.CAPTION, None, told))
        if seed is not None:
            beside.append(Section(SectionType.SEED, None, bytes((seed,))))
        beside += texture
        index = 0 if key else self.index + 1
        keys = self._keys + key
        unit = AccessUnit(key=key, index=index, key_count=(keys - 1) % KEY_COUNTS, sequence=sequence if key else None,
                          sections=tuple(machine + beside))
        packet = av.Packet(serialize(unit))
        self.machine_size = (len(serialize(dataclasses.replace(unit, sections=tuple(machine)))) if beside
                             else packet.size)
        packet.time_base = times.time_base
        packet.pts, packet.dts, packet.duration = times.pts, dts, max(1, times.duration)
        packet.is_keyframe = key
        self.index, self._keys, self._told_q = index, keys, q
        self._captions.tell(told, key=key)
        return packet


class Encoder:
    """Encodes video frames into packets that hold one access unit each.

    The neural machine codec has no lookahead and no reordering; the inner one has both unless its latency is ``zero``,
    gives packets later than their frames, and starts a new group of pictures where q changes. With reordering, times
    come in finer ticks than the frames' where those are coarse, since decode times need them.

    Args:
        width, height: size of the first frames; a frame of another size starts a new sequence.
        rate: frames per second, also the time base when frames bring none.
        q: quality index 0..63; may be set later too and holds from the next frame on. gop: frames from one key frame
            to the next.
        profile: bundled name, folder, or Profile. device: ``auto``, ``cpu``, ``cuda``, ``tensorrt``, or a Backend.
        threads: 0 for all cores. Networks are shared with all others of the process that have the same profile, device
            and threads.
        batch: streams whose networks are run at once, at most; for those that have threads of their own. window:
            seconds that a frame waits for the others', at most (``duoview.backends.batching``).
        sample_aspect: width to height of a sample, for the sequence header; 0 when it is not known.
        max_pixels: larger pictures are refused before memory is taken for them.
        decision: how symbols are rounded and what is not coded at all; None for the default.
        texture: how much texture, or its greatest depth, is coded beside the machine layer; None for none.
        machine: ``neural`` or ``inner``. inner: settings of the inner codec; its q and gop are those given here.
            neural: settings of the neural codec.
        caption: what human views are told is seen: ``none``; ``auto``, what the detections in ``frame.opaque`` say; or
            a Caption. Sent where it changes, and in key units.
        seeds: of the neural codec: how many seeds are tried at key frames, to send the number of the best one for human
            views; 0 for none.
    """

    def __init__(self, width: int, height: int, *, rate: Fraction | int = Fraction(25), q: int = 24, gop: int = 50,
                 profile: str | Path | Profile = "s", device: str | Backend = "cpu", threads: int = 0,
                 batch: int = 1, window: float = DEFAULT_WINDOW,
                 sample_aspect: Fraction | int = Fraction(0), max_pixels: int = DEFAULT_MAX_PIXELS,
                 decision: SymbolDecision | None = None, machine: str = "neural",
                 inner: InnerSettings | None = None, neural: NeuralSettings | None = None,
                 texture: TextureSettings | int | None = None, caption: str | Caption = "none", seeds: int = 0) -> None:
        if machine not in MACHINES:
            raise ValueError(f"machine={machine!r}: expected one of {', '.join(MACHINES)}")
        if isinstance(texture, int):
            texture = TextureSettings(Depths(texture))
        if texture is not None and not texture.depths.most():
            texture = None
        for argument, value, belongs in (("inner", inner, "inner"), ("neural", neural, "neural"),
                                         ("decision", decision, "neural"), ("seeds", seeds or None, "neural")):
            if value is not None and machine != belongs:
                raise ValueError(f"{argument}={value!r}: belongs to machine={belongs!r}, not {machine!r}")
        self.q = q
        if gop < 1:
            raise LimitError(f"gop={gop}: expected 1 or more frames")
        check_size(width, height, max_pixels)
        self.rate = Fraction(rate)
        if self.rate <= 0:
            raise LimitError(f"rate={rate}: expected a positive number of frames per second")
        self.gop, self.max_pixels, self.sample_aspect = gop, max_pixels, Fraction(sample_aspect)
        self.profile = profile if isinstance(profile, Profile) else Profile(profile)
        self._digest = hashlib.sha256()
        self._machine: MachineLayer | None = None
        self._inner: InnerStream | None = None
        self._guide: Guide | None = None
        self._control: RateControl | None = None
        self._texture: TextureEncoder | None = None
        self._inner_texture: InnerTextureEncoder | None = None
        self._texture_guide: TextureGuide | None = None
        self._seat: BatchingBackend | None = None
        if machine == "neural" or texture is not None or batch != 1:
            device = open_stream_backend(device, threads, batch, window)
            self._seat = device if isinstance(device, BatchingBackend) else None
        if texture is not None:
            backend = open_backend(device)
            self._texture = TextureEncoder(self.profile, backend, texture, rate=self.rate, gop=gop)
            self._view = TextureView(self.profile, backend)
            if texture.guided:
                self._texture_guide = TextureGuide(texture, self.profile, backend, threads=threads,
                                                   rate=float(self.rate))
        self._seeds: SeedSearch | None = None
        self._captions = FrameCaptions(caption)
        #: Of the inner codec: captions of frames that wait in it, by their times.
        self._waiting: dict[Fraction, Caption | None] = {}
        if machine == "inner":
            settings = inner or InnerSettings(threads=threads)
            self._inner = InnerStream(dataclasses.replace(settings, q=q, gop=gop), rate=self.rate)
            self._guide = Guide(settings.simplify, settings.roi, self.profile, device, threads=threads,
                                rate=float(self.rate), able=settings.kind.regions)
            if self._texture is not None:
                self._inner_texture = InnerTextureEncoder(self._texture, self._view)
        else:
            backend = open_backend(device)
            given = neural or NeuralSettings()
            # Not measured to be better for a detector that the network did not learn from (docs/accuracy.md).
            simplify = "off" if given.simplify == "auto" else given.simplify
            self._guide = Guide(simplify, given.roi, self.profile, backend, threads=threads, rate=float(self.rate))
            if given.bit_rate:
                self._control = RateControl(given.bit_rate, self.rate, gop, width * height, MAX_Q)
            self._machine = MachineLayer(self.profile, backend, encode=True, decision=decision,
                                         threads=threads or len(os.sched_getaffinity(0)))
            if seeds:
                self._seeds = SeedSearch(self.profile, backend, seeds)
            self._digest = self._machine.digest
        self._reader = PictureReader()
        self._size = (width, height)
        self._units = UnitWriter()
        self._count = 0
        self._closed = False
        self._restart = True

    @property
    def q(self) -> int:
        """Quality index of the next frame; with a bit rate, which chooses it, that of the last one.

        Setting one outside of 0..63 raises LimitError; with a bit rate one that is set counts for nothing.
        """
        return self._q

    @q.setter
    def q(self, value: int) -> None:
        if not 0 <= value <= MAX_Q:
            raise LimitError(f"q={value}: expected 0 to {MAX_Q}")
        self._q = value

    def encode(self, frame: av.VideoFrame | None, *, key: bool = False) -> list[av.Packet]:
        """Encode one frame; returns the packets that are ready, in decode order. None flushes and ends the stream.

        The frame is not altered. Raises av.EOFError after the flush, LimitError on an impossible size, and for the
        inner codec on a frame that is not later than the one before.
        """
        if self._closed:
            raise av.EOFError(541478725, "encode() after the encoder was flushed")
        if self._seat is not None:
            self._seat.begin()
        if frame is None:
            self._closed = True
            try:
                return self._inner_units(self._inner.flush()) if self._inner is not None else []
            finally:
                self._leave()
        size, changed = (frame.width, frame.height), False
        if size != self._size:
            check_size(*size, self.max_pixels)
            self._size, changed = size, True
        times = self._times(frame)
        if self._inner is not None:
            return self._encode_inner(self._inner, frame, times, key)
        self._restart = self._restart or changed
        assert self._machine is not None
        caption = self._captions.of(frame, float(times.seconds))
        is_key = key or self._restart or self._units.index + 1 >= self.gop
        seconds = float(times.seconds) if frame.pts is not None and frame.time_base else None
        if self._control is not None:
            if changed:
                self._control.resized(frame.width * frame.height)
            self._q = self._control.quality(key=is_key, seconds=seconds)
        assert self._guide is not None
        told = told_regions(frame)
        importance = None
        if is_key or told:
            importance = self._guide.look(frame)
        else:
            self._guide.skip()
        gains = region_gains(importance, told, *size, self.q)
        if not is_key and gains is not None and gains.levels.max() <= 0:
            gains = None  # a map in a P frame costs more than what is coarser there saves
        picture = self._reader.read(frame)
        # Until this unit is out: if anything fails on the way, no later frame may refer to what nobody received.
        self._restart = True
        section = Section(SectionType.MACHINE, None, self._machine.encode(picture, key=is_key, q=self.q, gains=gains))
        texture = self._texture_of(self._machine, frame, is_key, seconds)
        seed = None
        if self._seeds is not None and is_key:
            assert self._machine.z_m is not None
            seed = self._seeds.best(picture, self._machine.z_m, self.q)
        sequence = self._sequence(frame, MachineCodec.NEURAL) if is_key else None
        packet = self._units.write(section, key=is_key, q=self.q, sequence=sequence, times=times, dts=times.pts,
                                   texture=texture, caption=caption, seed=seed,
                                   gains=gains.write() if gains is not None and section.payload else b"")
        if self._control is not None:
            self._control.coded(8 * self._units.machine_size, key=is_key, q=self.q)
        self._count += 1
        self._restart = False
        return [packet]

    def _texture_of(self, machine: MachineLayer, frame: av.VideoFrame, key: bool, seconds: float | None
                    ) -> Sequence[Section]:
        """Sections of texture of the frame that the neural layer encoded last; seconds: its time."""
        if self._texture is None:
            return ()
        self._texture.tell(seconds)
        weights = self._texture_guide.look(frame) if self._texture_guide is not None else None
        if not self._texture.wants(key):
            self._texture.skip()
            return ()
        assert machine.z is not None and machine.z_m is not None
        base = self._view.latent(self._view.picture(machine.z_m))
        seen = Seen(key, machine.decoded, None, machine.moved, self.q)
        return self._texture.encode(machine.z, base, seen, frame.width, frame.height, weights)

    def close(self) -> None:
        """End the stream without what the encoder still holds: frames that wait are not encoded. May be called again.

        Only for an encoder that is given up before its flush; one that was flushed holds nothing.
        """
        self._closed = True
        self._leave()
        self._waiting.clear()
        if self._inner is not None:
            self._inner.drop()
        if self._inner_texture is not None:
            self._inner_texture.keep()

    def _leave(self) -> None:
        """Other streams' batches need not wait for this one any more."""
        if self._seat is not None:
            self._seat.leave()

    def _encode_inner(self, inner: InnerStream, frame: av.VideoFrame, times: FrameTimes, key: bool) -> list[av.Packet]:
        assert self._guide is not None
        inner.check(times)  # before the frame's samples and caption take the place of those of another at the same time
        importance = self._guide.look(frame)
        caption = self._captions.of(frame, float(times.seconds))
        if self._inner_texture is not None:
            weights = self._texture_guide.look(frame) if self._texture_guide is not None else None
            self._inner_texture.see(self._reader.read(frame), times.seconds, weights)
        try:
            coded = inner.encode(frame, self._sequence(frame, MachineCodec.INNER), times, q=self.q, key=key,
                                 importance=importance)
        except BaseException:
            if self._inner_texture is not None:
                self._inner_texture.keep(inner.coming())
            raise
        # Only now: a frame that was refused may have the time of one that waits.
        self._waiting[times.seconds] = caption
        self._count += 1
        return self._inner_units(coded)

    def _inner_units(self, coded: list[CodedFrame]) -> list[av.Packet]:
        packets = []
        try:
            for one in coded:
                section, background = Section(SectionType.INNER, None, one.payload), None
                if one.background is not None:
                    background = Section(SectionType.BACKGROUND, None, one.background)
                texture = self._inner_texture.sections(one) if self._inner_texture is not None else ()
                packets.append(self._units.write(section, key=one.key, q=one.q, sequence=one.sequence, times=one.times,
                                                 dts=one.dts, background=background, texture=texture,
                                                 caption=self._waiting.pop(one.times.seconds, None)))
                self._digest.update(one.background_packet)
                self._digest.update(one.packet)
        except BaseException:
            assert self._inner is not None
            self._inner.drop()  # what is still to come may refer to what nobody received
            self._waiting.clear()
            if self._inner_texture is not None:
                self._inner_texture.keep()
            raise
        return packets

    def symbols_sha256(self) -> str:
        """Digest of all integers (or inner packets) coded so far; a decoder of the same units has the same."""
        return self._digest.hexdigest()

    def _sequence(self, frame: av.VideoFrame, machine_codec: MachineCodec) -> SequenceHeader:
        return SequenceHeader(
            width=frame.width, height=frame.height, rate=self.rate, profile=self.profile.name,
            profile_hash=self.profile.stream_hash, machine_codec=machine_codec,
            palette=self._texture.geometry if self._texture is not None else PaletteGeometry(),
            colour=Colour(primaries=int(frame.color_primaries), transfer=int(frame.color_trc),
                          matrix=int(frame.colorspace), range=int(frame.color_range)),
            sample_aspect_ratio=self.sample_aspect, pixel_format=frame.format.name)

    def _times(self, frame: av.VideoFrame) -> FrameTimes:
        # Frames that bring no time get the count of frames in units of the frame rate; what duration they bring is in
        # a time base of which nothing else is known then.
        if frame.pts is not None and frame.time_base:
            base = Fraction(frame.time_base)
            return FrameTimes(frame.pts, frame.duration or round(1 / self.rate / base), base)
        return FrameTimes(self._count, 1, 1 / self.rate)
