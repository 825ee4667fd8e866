"""Access units in, frames of a view out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from duoview import varint
from duoview.access_unit import KEY_COUNTS, AccessUnit, SectionType, parse
from duoview.backends import Backend, Network, open_backend
from duoview.errors import BitstreamError, ProfileError
from duoview.human import HumanView, Provenance
from duoview.machine import MAX_Q, MachineLayer
from duoview.picture import DEFAULT_MAX_PIXELS, check_size, to_frame
from duoview.profile import Profile
from duoview.sequence import MachineCodec, SequenceHeader

VIEWS = ("machine", "human")


@dataclass(frozen=True)
class FrameOrigin:
    """In ``frame.opaque``: where a picture came from.

    ``concealed``: it repeats an earlier picture, because its own data was damaged or lost. ``provenance``: how a
    generated view was made, None for the machine view.
    """

    concealed: bool
    provenance: Provenance | None = None


@dataclass
class DecoderStats:
    """Counts of access units: decoded, concealed, skipped while waiting for a key frame, and unreadable ones."""

    decoded: int = 0
    concealed: int = 0
    skipped: int = 0
    damaged: int = 0
    last_damage: str = ""


class Decoder:
    """Decodes packets (one access unit each) into ``gbrp`` frames of one view.

    Args:
        profile: where to look for the profile (bundled name, folder or Profile); None takes the bundled one that the
            stream names. Its hash must be the stream's.
        view: ``machine`` or ``human``; start, steps, seed: see HumanView.
        strict: raise BitstreamError on damage instead of concealing.
        max_pixels: larger pictures are refused before memory is taken for them.
    """

    def __init__(self, *, profile: str | Path | Profile | None = None, device: str | Backend = "cpu", threads: int = 0,
                 view: str = "machine", start: str = "guided", steps: int = 4, seed: int = 0, strict: bool = False,
                 max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        if view not in VIEWS:
            raise ValueError(f"view={view!r}: expected one of {', '.join(VIEWS)}")
        self.view, self.strict, self.max_pixels = view, strict, max_pixels
        self._given = profile if isinstance(profile, Profile) or profile is None else Profile(profile)
        self._backend = open_backend(device, threads)
        self._start, self._steps, self._seed = start, steps, seed
        self._profile: Profile | None = None
        self._machine: MachineLayer | None = None
        self._human: HumanView | None = None
        self._picture_network: Network | None = None
        if self._given is not None:
            self._load(self._given)
        self.sequence: SequenceHeader | None = None
        self.stats = DecoderStats()
        self._q = 0
        self._index = self._key_count = 0
        self._waiting = True
        self._latent: tuple[NDArray[np.float32], int] | None = None
        self._picture: NDArray[np.uint8] | None = None
        self._picture_size = (0, 0)
        self._closed = False

    def decode(self, packet: av.Packet | bytes | None, *, discard: bool = False) -> list[av.VideoFrame]:
        """The frames of one access unit (at most one); None flushes and ends the stream.

        discard: decode only what later units refer to and give no frame (a human view then runs no diffusion); holds
        for packets marked ``is_discard`` too.

        Raises ProfileError when the stream needs another profile and LimitError when its pictures are too large;
        damage is concealed (see FrameOrigin) unless ``strict``.
        """
        if self._closed:
            raise av.EOFError(541478725, "decode() after the decoder was flushed")
        if packet is None:
            self._closed = True
            return []
        discard = discard or (isinstance(packet, av.Packet) and packet.is_discard)
        try:
            unit = parse(bytes(packet))
            if unit.key:
                # Until it is decoded: units behind a key unit that is refused must not refer to an older one.
                self._waiting = True
                self._begin(unit)
            if self._waiting and not unit.key:
                return self._without_key(packet, discard)
            self._check_order(unit)
            z_m = self._decode_unit(unit)
        except BitstreamError as error:
            self._lose(error)
            if self.strict:
                raise
            return self._without_key(packet, discard)
        self.stats.decoded += 1
        assert self.sequence is not None
        if self._latent is None or z_m is not self._latent[0]:
            # Else the unit repeats the frame before it: the picture stays, and the quality that a human view goes by.
            self._latent, self._picture = (z_m, self._q), None
        self._picture_size = (self.sequence.width, self.sequence.height)
        return [] if discard else [self._frame(packet, concealed=False)]

    def reset(self) -> None:
        """Forget the state after a seek; units are skipped until the next key frame."""
        self._waiting, self._latent, self._picture, self._closed = True, None, None, False
        if self._machine is not None:
            self._machine.reset()

    def symbols_sha256(self) -> str:
        """Digest of all integers decoded so far, in order."""
        return self._machine.digest.hexdigest() if self._machine is not None else ""

    def _load(self, profile: Profile) -> None:
        machine = MachineLayer(profile, self._backend, encode=False)
        picture_network = profile.load("decoder", self._backend)
        human = None
        if self.view == "human":
            human = HumanView(profile, self._backend, start=self._start, steps=self._steps, seed=self._seed)
        # All at once and last: a profile that fails to load must not be taken for the one in use.
        self._profile, self._machine, self._picture_network, self._human = profile, machine, picture_network, human

    def _begin(self, unit: AccessUnit) -> None:
        """Take over a sequence header; load the profile it names."""
        sequence = unit.sequence
        if sequence is None:
            raise BitstreamError("key access unit without a sequence header", offset=0)
        check_size(sequence.width, sequence.height, self.max_pixels)
        if sequence.machine_codec != MachineCodec.NEURAL:
            raise ProfileError(f"the stream's machine codec is {sequence.machine_codec.name.lower()}; "
                               "this version decodes neural only")
        if self._profile is None or self._profile.sha256 != sequence.profile_sha256:
            profile = self._given or Profile.bundled(sequence.profile)
            if profile.sha256 != sequence.profile_sha256:
                raise ProfileError(
                    f"the stream was made with profile {sequence.profile!r} {sequence.profile_sha256.hex()[:12]}..., "
                    f"here is {profile.name!r} {profile.sha256.hex()[:12]}...; give the folder of the stream's profile")
            if self._latent is not None:
                self._show()  # a frame that repeats the last picture needs the networks that the picture was coded with
            self._load(profile)
        self.sequence = sequence

    def _check_order(self, unit: AccessUnit) -> None:
        if not unit.key and unit.key_count != self._key_count:
            raise BitstreamError(f"access unit of key unit {unit.key_count} (modulo {KEY_COUNTS}) follows one of "
                                 f"{self._key_count}: units between are missing", offset=0)
        if not unit.key and unit.index != self._index + 1:
            raise BitstreamError(f"access unit {unit.index} after the key frame follows {self._index}: "
                                 "units between them are missing", offset=0)
        self._index, self._key_count = unit.index, unit.key_count

    def _decode_unit(self, unit: AccessUnit) -> NDArray[np.float32]:
        assert self._machine is not None and self.sequence is not None
        for damage in unit.damaged:
            # The quality counts as well: at another one than the encoder's the machine section cannot be read.
            if damage.type in (SectionType.MACHINE, SectionType.QUALITY):
                raise BitstreamError(f"{SectionType(damage.type).name.lower()} section: {damage.reason}", offset=0)
        level = unit.payload(SectionType.QUALITY)
        if level is not None:
            self._q, end = varint.read(level, 0)
            if self._q > MAX_Q:
                raise BitstreamError(f"quality index {self._q}, at most {MAX_Q} is allowed", offset=0)
            if end != len(level):
                raise BitstreamError(f"quality section of {len(level)} bytes: gain maps are not known to this version",
                                     offset=end)
        elif unit.key:
            raise BitstreamError("key access unit without its quality section", offset=0)
        payload = unit.payload(SectionType.MACHINE)
        if payload is None:
            raise BitstreamError("access unit without its machine section", offset=0)
        z_m = self._machine.decode(payload, key=unit.key, q=self._q, width=self.sequence.width,
                                   height=self.sequence.height)
        self._waiting = False
        return z_m

    def _show(self) -> NDArray[np.uint8]:
        """The picture of the last latent, made when it is first asked for."""
        if self._picture is None:
            assert self._latent is not None and self._picture_network is not None
            z_m, q = self._latent
            (picture,) = self._picture_network(z=z_m)
            if self._human is not None:
                (human,) = self._picture_network(z=self._human.latent(z_m, q))
                picture = self._human.colour(human, picture)
            # Last: a machine view left behind by a failure must not be taken for the human one.
            self._picture = picture
        return self._picture

    def _without_key(self, packet: av.Packet | bytes, discard: bool) -> list[av.VideoFrame]:
        """A P unit whose references are gone: repeat the last picture, or give nothing before the first one."""
        if self._latent is None:
            self.stats.skipped += 1
            return []
        self.stats.concealed += 1
        return [] if discard else [self._frame(packet, concealed=True)]

    def _lose(self, error: BitstreamError) -> None:
        """Damage: what the next units refer to is gone, up to the next key frame."""
        self.stats.damaged += 1
        self.stats.last_damage = str(error)
        self._waiting = True
        if self._machine is not None:
            self._machine.reset()

    def _frame(self, packet: av.Packet | bytes, *, concealed: bool) -> av.VideoFrame:
        frame = to_frame(self._show(), *self._picture_size)
        if isinstance(packet, av.Packet):
            frame.pts = packet.pts
            if packet.time_base:
                frame.time_base = packet.time_base
            if packet.duration:
                frame.duration = packet.duration
        frame.opaque = FrameOrigin(concealed, self._human.provenance if self._human is not None else None)
        return frame


__all__ = ["Decoder", "DecoderStats", "FrameOrigin"]
