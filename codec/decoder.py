"""Access units in, frames of a view out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from duoview.access_unit import KEY_COUNTS, AccessUnit, SectionType, parse
from duoview.backends import Backend, Network
from duoview.backends.batching import DEFAULT_WINDOW, BatchingBackend, open_stream_backend
from duoview.captions import Caption
from duoview.captions.told import Find
from duoview.decoder_stats import DecoderStats
from duoview.errors import BitstreamError, LimitError, ProfileError
from duoview.frame_origin import FrameOrigin
from duoview.gain_map import GainMap
from duoview.generated import generated_share
from duoview.hints import HintReader
from duoview.human import Hints, HumanView, Provenance
from duoview.inner.payload import read_key, read_packet
from duoview.inner.player import InnerPlayer, Shown, UnitTimes
from duoview.inner.restorer import Restorer
from duoview.machine import MachineLayer
from duoview.picture import DEFAULT_MAX_PIXELS, PictureReader, check_size, onto, scaled_picture, to_frame
from duoview.profile import Profile
from duoview.quality import check_machine_sections, read_quality
from duoview.sequence import MachineCodec, PaletteGeometry, SequenceHeader
from duoview.texture.decoder import FILLS, TextureDecoder
from duoview.texture.depths import Depths
from duoview.texture.inner import InnerTextureDecoder
from duoview.texture.view import Seen, TextureView
from duoview.unit_origin import is_discarded

VIEWS = ("machine", "human", "texture")


class Decoder:
    """Decodes packets (one access unit each) into ``gbrp`` frames of one view, in the order in which they are shown.

    A unit of the neural machine codec gives its frame at once; the inner one may reorder, so a unit gives none or
    several, and the flush gives what is left.

    Args:
        profile: where to look for the profile (bundled name, folder or Profile); None takes the bundled one that the
            stream names. Its hash must be the stream's.
        threads: of networks and kernels, 0 for all cores; networks are shared with all others of the process that have
            the same profile, device and threads. batch, window: as an Encoder's.
        view: ``machine``, ``human`` or ``texture``; start, steps, seed, noise, tile, text: see HumanView.
        caption: of starts ``slim`` and ``texture``, what is seen: ``auto``, the stream's caption, and where it has none
            that of ``detector``; a Caption; or ``none``. detector: finds objects in frames of the machine view.
        texture: of a texture view, and of start ``texture``, the greatest depth that is used; None for all. fill:
            ``mean`` or ``sample``, what stands for the depths that are not there in a texture view; ``seed`` is that of
            the samples.
        restore: run the profile's restoration network on the pictures of inner streams, before every view but those
            with texture, which is coded beside what was decoded; None where the profile has one, True needs one
            (ProfileError).
        strict: raise BitstreamError on damage instead of concealing. Where what is damaged is no more than texture, a
            caption or a seed, no picture is lost: what that call would have given comes with the next one, which then
            raises for nothing but graver damage, so that pictures never wait for more than one call.
        max_pixels: larger pictures are refused before memory is taken for them.
    """

    def __init__(self, *, profile: str | Path | Profile | None = None, device: str | Backend = "cpu", threads: int = 0,
                 batch: int = 1, window: float = DEFAULT_WINDOW, view: str = "machine",
                 start: str = "guided", steps: int | None = 4, seed: int | None = None,
                 noise: float | None = None, tile: int | None = None, text: str = "",
                 caption: str | Caption = "auto", detector: Find | None = None,
                 texture: Depths | int | None = None, fill: str = "mean",
                 restore: bool | None = None, strict: bool = False,
                 max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        if view not in VIEWS:
            raise ValueError(f"view={view!r}: expected one of {', '.join(VIEWS)}")
        textured = view == "texture" or (view == "human" and start == "texture")
        if (texture is not None and not textured) or (fill != "mean" and view != "texture"):
            raise ValueError(f"texture={texture}, fill={fill!r}: belong to view='texture', not {view!r}")
        if textured and restore:
            raise ValueError("restore=True: belongs to the views machine and human, not to view='texture' or "
                             "start='texture'")
        if (caption != "auto" or detector is not None) and (view != "human" or start == "guided"):
            raise ValueError(f"caption={caption!r}, detector={detector!r}: belong to view='human' with start='slim' or "
                             f"'texture', not to {view!r} with {start!r}")
        if detector is not None and caption != "auto":
            raise ValueError(f"detector={detector!r}: belongs to caption='auto', not {str(caption)!r}")
        for name, value in (("noise", noise), ("tile", tile), ("text", text or None)):
            if value is not None and view != "human":
                raise ValueError(f"{name}={value!r}: belongs to view='human', not {view!r}")
        if fill not in FILLS:
            raise ValueError(f"fill={fill!r}: expected one of {', '.join(FILLS)}")
        self._depths = Depths(texture) if isinstance(texture, int) else texture
        self._fill = fill
        self.view, self.strict, self.max_pixels = view, strict, max_pixels
        self._given = profile if isinstance(profile, Profile) or profile is None else Profile(profile)
        self._backend, self._digest = open_stream_backend(device, threads, batch, window), hashlib.sha256()
        self._seat = self._backend if isinstance(self._backend, BatchingBackend) else None
        self._start, self._steps, self._seed, self._restore = start, steps, seed, restore
        self._noise, self._tile, self._text, self._textured = noise, tile, text, textured
        self._hint_reader = HintReader(caption, detector)
        self._profile: Profile | None = None
        self._machine: MachineLayer | None = None
        self._human: HumanView | None = None
        self._texture: TextureDecoder | None = None
        self._inner_texture: InnerTextureDecoder | None = None
        self._texture_view: TextureView | None = None
        #: What the base of the picture lacks, of a view with texture, and how deep it is known.
        self._residual: NDArray[np.float32] | None = None
        self._known_depths: NDArray[np.uint8] | None = None
        self._restorer: Restorer | None = None
        self._picture_network: Network | None = None
        self._latent_network: Network | None = None
        self._inner = False
        self._reader = PictureReader()
        self._player = InnerPlayer(threads=threads)
        self._threads = threads or len(os.sched_getaffinity(0))
        self._ready: list[av.VideoFrame] = []
        #: In strict decoders, the first fault that costs no picture and has not been told.
        self._fault = ""
        if self._given is not None:
            self._load(self._given, inner=False)
        self.sequence: SequenceHeader | None = None
        self.stats = DecoderStats()
        self._q = 0
        self._gains: GainMap | None = None
        self._index = self._key_count = 0
        self._waiting = True
        self._latent: tuple[NDArray[np.float32], int] | None = None
        self._hints = Hints()
        self._coded: Shown | None = None
        self._picture: NDArray[np.uint8] | None = None
        self._generated_share: float | None = None  # of that picture
        self._provenance: Provenance | None = None  # of it too: it may outlive the networks that made it
        self._picture_size = (0, 0)
        self._closed = False

    def decode(self, packet: av.Packet | bytes | None, *, discard: bool = False) -> list[av.VideoFrame]:
        """The frames that one access unit makes ready; None flushes, gives those that are left, and ends the stream.

        discard: decode only what later units refer to and give no frame (a human view then runs no diffusion); holds
        for packets marked ``is_discard`` too, by themselves or by a UnitOrigin.

        Raises ProfileError when the stream needs another profile, LimitError when its pictures are too large or a
        texture view finds no texture layer; damage is concealed (see FrameOrigin) unless ``strict``. A flush that
        raises is not over: the next one gives what is left.
        """
        if self._closed:
            raise av.EOFError(541478725, "decode() after the decoder was flushed")
        owed = bool(self._ready)  # by a call that raised: else they pile up where every unit is damaged
        if self._seat is not None:
            self._seat.begin()
        if packet is None:
            try:
                self._show_inner(self._player.flush())
            finally:
                self._leave()
        else:
            self._take(packet, discard or (isinstance(packet, av.Packet) and is_discarded(packet)))
        if self._fault and (packet is None or not owed):
            fault, self._fault = self._fault, ""
            raise BitstreamError(fault)  # it names its own place
        self._closed = packet is None
        ready, self._ready = self._ready, []
        return ready

    def _take(self, packet: av.Packet | bytes, discard: bool) -> None:
        """Decode one access unit, and make the frames that it makes ready."""
        try:
            unit = parse(bytes(packet))
            if unit.key:
                # Until it is decoded: units behind a key unit that is refused must not refer to an older one.
                self._waiting = True
                self._begin(unit)
            if self._waiting and not unit.key:
                self._without_key(packet, discard)
                return
            self._check_order(unit)
            self._read_quality(unit)
            if self.view == "human":
                self._read_hints(unit)
            assert self.sequence is not None
            if self.sequence.machine_codec == MachineCodec.INNER:
                hints = self._hint_reader
                self._feed_inner(unit, UnitTimes.of(packet, discard=discard, q=self._q, caption=hints.sent,
                                                    seed=hints.seed))
                self.stats.decoded += 1
                return
            latent, residual = self._decode_unit(unit)
        except BitstreamError as error:
            self._lose(error)
            if self.strict:
                self._fault = ""  # the graver one is told
                raise
            self._without_key(packet, discard)
            return
        self.stats.decoded += 1
        if self._latent is None or latent is not self._latent[0] or residual is not self._residual:
            # Else the unit repeats the frame before it: the picture stays, and the quality that a human view goes by.
            self._latent, self._residual, self._coded, self._picture = (latent, self._q), residual, None, None
            if self.view == "human":
                self._hints = self._hint_reader.of(self._hint_reader.sent, self._hint_reader.seed,
                                                   (self.sequence.width, self.sequence.height))
                self._known_depths = self._texture.depths if self._texture is not None else None
        else:
            self._retell()
        self._picture_size = (self.sequence.width, self.sequence.height)
        if not discard:
            self._ready.append(self._frame(UnitTimes.of(packet), concealed=False))

    def reset(self) -> None:
        """Forget the state after a seek; units are skipped until the next key frame."""
        self._waiting, self._latent, self._coded, self._picture, self._closed = True, None, None, None, False
        self._player.reset()
        if self._inner_texture is not None:
            self._inner_texture.reset()
        if self._restorer is not None:
            self._restorer.reset()
        self._ready.clear()
        self._fault = ""
        if self._machine is not None:
            self._machine.reset()

    def close(self) -> None:
        """Give the stream up: batches of other streams wait for this one no more. May be called again.

        Only for a decoder that is given up before its flush.
        """
        self._closed = True
        self._ready.clear()
        self._leave()

    def _leave(self) -> None:
        if self._seat is not None:
            self._seat.leave()

    def symbols_sha256(self) -> str:
        """Digest of all integers (or inner packets) decoded so far, in order; empty before the first profile."""
        return self._digest.hexdigest() if self._profile is not None else ""

    def _load(self, profile: Profile, *, inner: bool) -> None:
        """Load what a machine codec and the view need; an inner stream's machine view needs the restoration at most."""
        human, texture, picture_network, latent_network, machine, restorer = None, None, None, None, None, None
        view = None
        if self.view == "human":
            human = HumanView(profile, self._backend, start=self._start, steps=self._steps, seed=self._seed,
                              noise=self._noise, tile=self._tile, text=self._text)
            if self._hint_reader.wanted and not human.accepts_captions:
                raise ProfileError(f"{self._hint_reader.wanted}: the denoiser of profile {profile.name!r} takes none; "
                                   "expected a profile that was trained with captions")
        if self._textured:
            texture = TextureDecoder(profile, self._backend, limit=self._depths, fill=self._fill, seed=self._seed or 0)
            view = TextureView(profile, self._backend)
        if not inner:
            machine = MachineLayer(profile, self._backend, encode=False, threads=self._threads)
            machine.digest = self._digest
            picture_network = profile.load("decoder", self._backend)
        elif self.view == "human":
            latent_network = profile.load("encoder", self._backend)
            picture_network = profile.load("decoder", self._backend)
        if inner and texture is None and (profile.has("restoration") if self._restore is None else self._restore):
            restorer = Restorer(profile.load("restoration", self._backend))
        # All at once and last: a profile that fails to load must not be taken for the one in use.
        self._profile, self._machine, self._human, self._restorer = profile, machine, human, restorer
        self._texture, self._texture_view = texture, view
        self._inner_texture = InnerTextureDecoder(texture) if texture is not None and inner else None
        self._picture_network, self._latent_network, self._inner = picture_network, latent_network, inner

    def _begin(self, unit: AccessUnit) -> None:
        """Take over a sequence header; load the profile it names."""
        sequence = unit.sequence
        if sequence is None:
            raise BitstreamError("key access unit without a sequence header", offset=0)
        check_size(sequence.width, sequence.height, self.max_pixels)
        inner = sequence.machine_codec == MachineCodec.INNER
        if self._player.started and (not inner or sequence != self.sequence):
            self._show_inner(self._player.flush())  # they have the old size, and come before
            if not inner:
                self._player.reset()
        profile = self._profile
        if profile is None or profile.stream_hash != sequence.profile_hash:
            profile = self._given or Profile.bundled(sequence.profile)
            if profile.stream_hash != sequence.profile_hash:
                raise ProfileError(
                    f"the stream was made with profile {sequence.profile!r} {sequence.profile_hash.hex()[:12]}..., "
                    f"here is {profile.name!r} {profile.sha256.hex()[:12]}...; give the folder of the stream's profile")
        if profile is not self._profile or inner != self._inner:
            if self._latent is not None or self._coded is not None:
                self._show()  # a frame that repeats the last picture needs the networks that the picture was coded with
            self._load(profile, inner=inner)
        if self._texture is not None:
            if self.view == "human" and sequence.palette == PaletteGeometry():
                raise LimitError("start='texture': this stream has no texture layer; expected one that was encoded "
                                 "with a texture of 1 or more, or start='guided' or 'slim'")
            self._texture.begin(sequence)
        self.sequence = sequence

    def _check_order(self, unit: AccessUnit) -> None:
        if not unit.key and unit.key_count != self._key_count:
            raise BitstreamError(f"access unit of key unit {unit.key_count} (modulo {KEY_COUNTS}) follows one of "
                                 f"{self._key_count}: units between are missing", offset=0)
        if not unit.key and unit.index != self._index + 1:
            raise BitstreamError(f"access unit {unit.index} after the key frame follows {self._index}: "
                                 "units between them are missing", offset=0)
        self._index, self._key_count = unit.index, unit.key_count

    def _read_quality(self, unit: AccessUnit) -> None:
        """Take over the unit's quality; refuse a unit in which that, or what is coded with it, is damaged."""
        assert self.sequence is not None
        check_machine_sections(unit)
        quality = read_quality(unit, self.sequence)
        self._gains = quality.gains if quality is not None else None
        if quality is not None:
            self._q = quality.q

    def _read_hints(self, unit: AccessUnit) -> None:
        """Take over what the unit tells a human view; a caption or seed that is damaged is told and left out."""
        faults = self._hint_reader.read(unit)
        self.stats.count_hints(faults)
        self._tell(faults)

    def _retell(self) -> None:
        """A unit that repeats the frame before it may bring another caption: what is shown is then made anew."""
        told = self._hint_reader.sent
        if self._human is None or self._hint_reader.caption != "auto" or told == self._hints.caption:
            return
        self._hints = replace(self._hints, caption=told, sent=told is not None)
        if self._human.takes_captions:
            self._picture = None

    def _decode_unit(self, unit: AccessUnit) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """z_m of a unit, and of a view with texture what the base lacks."""
        assert self._machine is not None and self.sequence is not None
        payload = unit.payload(SectionType.MACHINE)
        if payload is None:
            raise BitstreamError("access unit without its machine section", offset=0)
        self._waiting = True  # until it is decoded: if a device fails at it, later units must not refer to older ones
        z_m = self._machine.decode(payload, key=unit.key, q=self._q, width=self.sequence.width,
                                   height=self.sequence.height, gains=self._gains)
        residual = None
        if self._texture is not None:
            machine = self._machine
            residual = self._texture.decode(unit, Seen(unit.key, machine.decoded, None, machine.moved, self._q))
        self._waiting = False
        if self._texture is not None:
            self._count_faults()
        return z_m, residual

    def _count_faults(self) -> None:
        assert self._texture is not None
        self.stats.count_texture(self._texture.faults)
        self._tell(self._texture.faults)

    def _tell(self, faults: Sequence[str]) -> None:
        """Have a strict decoder raise once the pictures of this call are made, none of which needs what is damaged."""
        if self.strict and faults and not self._fault:
            self._fault = faults[0]

    def _feed_inner(self, unit: AccessUnit, times: UnitTimes) -> None:
        assert self.sequence is not None
        payload = unit.payload(SectionType.INNER)
        if not payload:
            raise BitstreamError("access unit without its inner section", offset=0)
        background = unit.payload(SectionType.BACKGROUND)
        if unit.key:
            header, inner = read_key(payload, self.sequence.width, self.sequence.height)
            left, carried = self._player.begin(header, background)
            self._digest.update(carried)
            self._show_inner(left)
        elif background is not None:
            raise BitstreamError("background picture in an access unit without the key flag", offset=0)
        else:
            inner = read_packet(self._player.codec, payload)
        shown = self._player.feed(inner, times)
        if unit.key and self._inner_texture is not None:
            self._inner_texture.expect(unit, self._player.group, times.seconds, self._q)
        self._digest.update(inner)
        self._waiting = False
        self._show_inner(shown)

    def _show_inner(self, shown: list[Shown]) -> None:
        """Make the frames of pictures that are to be shown, in their order."""
        for one in shown:
            if one.frame is not None:
                assert self.sequence is not None
                self._latent, self._coded, self._picture = None, one, None
                self._picture_size = (self.sequence.width, self.sequence.height)
                self._hints = self._hint_reader.of(one.times.caption, one.times.seed, self._picture_size)
                if self._restorer is not None:
                    self._restorer.see(one, self._picture_size)
                if self._inner_texture is not None:
                    self._residual = self._inner_texture.residual(one, self._picture_size)
                    self._known_depths = self._inner_texture.depths
                    self._count_faults()
            if not one.times.discard and (self._coded is not None or self._latent is not None):
                self._ready.append(self._frame(one.times, concealed=one.frame is None))

    def _show(self) -> NDArray[np.uint8]:
        """The picture of the last latent or coded frame, made when it is first asked for."""
        if self._picture is None:
            if self._coded is not None:
                assert self._coded.frame is not None
                if self._restorer is not None:
                    picture = self._restorer.picture(self._reader)
                else:
                    picture = scaled_picture(self._reader, self._coded.frame, self._coded.size, self._picture_size)
                q = self._coded.times.q
                if self._human is not None:
                    assert self._latent_network is not None
                    (z_m,) = self._latent_network(picture=picture)
            else:
                assert self._latent is not None and self._picture_network is not None
                z_m, q = self._latent
                (picture,) = self._picture_network(z=z_m)
            if self._human is not None:
                picture = self._generate(self._human, picture, z_m, q)
            elif self._residual is not None:
                assert self._texture_view is not None
                picture = self._texture_view.show(picture, self._residual)
            # Last: a machine view left behind by a failure must not be taken for the human one.
            self._picture, self._provenance = picture, self._made_of()
        return self._picture

    def _generate(self, view: HumanView, machine: NDArray[np.uint8], z_m: NDArray[np.float32], q: int
                  ) -> NDArray[np.uint8]:
        """The human view of a machine view (1, 3, H, W) and the z_m that goes with it."""
        width, height = self._picture_size
        coded = machine
        hints = self._hints
        if view.takes_captions:
            hints = self._hint_reader.chosen(hints, lambda: to_frame(machine, width, height))
        if self._texture_view is not None:
            # Of an inner stream z_m is the base already; nothing is known where no key unit's texture reaches.
            base = z_m if self._inner else self._texture_view.latent(machine)
            known, depths = np.zeros_like(z_m), np.zeros(z_m.shape[2:], np.uint8)
            if self._residual is not None and self._known_depths is not None:
                known, depths = self._residual + (base - z_m), self._known_depths
                coded = self._texture_view.show(machine, self._residual, base)
            hints = replace(hints, texture=known, depth=depths)
        picture = view.picture(z_m, q, hints)
        if self._inner:
            assert self._picture_network is not None
            (own,) = self._picture_network(z=z_m)
            picture = onto(machine, picture, own)
        picture = view.colour(picture, machine)
        self._generated_share = generated_share(picture[0, :, :height, :width], coded[0, :, :height, :width])
        return picture

    def _without_key(self, packet: av.Packet | bytes, discard: bool) -> None:
        """A unit whose references are gone: repeat the last picture, or give nothing before the first one."""
        times = UnitTimes.of(packet, discard=discard)
        if self._player.started:
            self.stats.concealed += 1
            self._show_inner(self._player.lose(times))
        elif self._latent is None and self._coded is None:
            self.stats.skipped += 1
        else:
            self.stats.concealed += 1
            if not discard:
                self._ready.append(self._frame(times, concealed=True))

    def _lose(self, error: BitstreamError) -> None:
        """Damage: what the next units refer to is gone, up to the next key frame."""
        self.stats.count_damage(str(error))
        self._waiting = True
        self._player.interrupt()
        if self._machine is not None:
            self._machine.reset()

    def _frame(self, times: UnitTimes, *, concealed: bool) -> av.VideoFrame:
        frame = to_frame(self._show(), *self._picture_size)
        frame.pts = times.pts
        if times.time_base:
            frame.time_base = times.time_base
        if times.duration:
            frame.duration = times.duration
        frame.opaque = FrameOrigin(concealed, self._provenance, self._generated_share)
        return frame

    def _made_of(self) -> Provenance | None:
        """What the picture that was made last is made of, where anything of it is generated."""
        if self._human is not None:
            return self._human.provenance
        if self._texture is None or not self._texture.sampled or self._profile is None:
            return None
        return Provenance(view="texture", start="texture", coded_layers=("machine", "texture"),
                          generated="texture of depths that were not sent", steps=0, seed=self._seed or 0,
                          profile=self._profile.name, profile_sha256=self._profile.sha256.hex())
