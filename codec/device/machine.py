"""The neural machine layer on a device: pictures to sections and back to z_m, as ``duoview.machine`` does on the host.

Sections are those of any encoder, motion fields included.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duoview.decision import BLOCK_PIXELS, SymbolDecision, extra_bits, picture_gain, worth_coding
from duoview.device.coding import check
from duoview.device.gains import DeviceScaling
from duoview.device.motion import DeviceCompensation, DeviceMotionSearch, check_channels
from duoview.device.networks import DeviceNetworks
from duoview.device.planes import NOTHING, Planes, joined
from duoview.errors import BitstreamError
from duoview.gain_map import GainMap
from duoview.kernels import Decoder, rans
from duoview.kernels.cuda_array import DeviceArray
from duoview.machine import first_half, motion_parts, read_coded
from duoview.motion_field import MotionField
from duoview.picture import padded

#: In P frames below this it is looked whether there is any symbol but hyper symbols, which alone are worth no section.
STILL_BYTES = 64
#: Hyper symbols are at most this in magnitude.
HYPER_LIMIT = 127


@dataclass(frozen=True)
class Chosen:
    """Of the symbols in the planes: decoded y (1, C, H, W) in sixteenths, and the classes of each half (C, H, W)."""

    decoded: Any
    classes: tuple[Any, Any]


class DeviceMachineLayer:
    """The machine codec of one stream on a device; an encoder's and a decoder's side share its state.

    Args:
        decision: how symbols are rounded; None for the default with ``skip=0``. With more, latents and symbols of P
            frames, though no pixels, are copied to the host, where it is decided what is worth its bits.
        digest: count the symbols for ``symbols_sha256``, for which they are copied to the host.
        motion: an encoder looks for motion, where the profile compensates for it; without, nothing moves in its fields.

    Raises ProfileError for shift operators that cannot be read, and for a latent of more channels than motion is looked
    for in.
    """

    def __init__(self, networks: DeviceNetworks, decision: SymbolDecision | None = None, *, digest: bool = False,
                 motion: bool = True) -> None:
        self.networks, self.kernels, self.stream = networks, networks.kernels, networks.stream
        self.decision = decision or SymbolDecision(skip=0.0)
        self.digest, self.counted = hashlib.sha256(), digest
        self.z_m: Any = None
        self.previous: Any = None
        #: For the texture layer, where ``watched``. z: of the last picture, encoders only. decoded: y of the last
        #: frame, in sixteenths. moved: (H/8, W/8) uint8, where z_m may be another than in the frame before; None for
        #: nowhere, and of key frames, where it is everywhere.
        self.watched = False
        self.z: Any = None
        self.decoded: Any = None
        self.moved: Any = None
        #: The motion field of the last frame.
        self.field = MotionField.still(0, 0)
        self._compensates = networks.profile.has_motion
        self._searches = motion and self._compensates
        #: Read before a stream begins, not at its first frame that moves, and kept, so that no size reads them again.
        self._operators = networks.profile.motion() if self._compensates else None
        if self._searches:
            check_channels(networks, networks.profile.sizes.latent)
        self._planes: Planes | None = None
        self._hyper_level: tuple[bool, int] | None = None
        self._q: int | None = None
        self._level: Any = None
        self._margins = {}
        for key in (True, False):
            self._margins[key] = networks.empty((64,), np.float32)
            networks.put(np.asarray(self.decision.margins(key), np.float32), self._margins[key])

    def reset(self) -> None:
        """Forget the state: the next frame must be a key frame."""
        self.z_m = self.previous = self.z = self.decoded = self.moved = None

    def _sized(self, width: int, height: int) -> Planes:
        """Memory for this size; at another one than the last frame's the state is forgotten."""
        size = padded(width), padded(height)
        if self._planes is None or self._planes.size != size:
            self._planes, self._hyper_level = Planes(self.networks, *size, motion=self._searches), None
            self.reset()
        return self._planes

    def _prepare(self, key: bool, q: int, width: int, height: int) -> Planes:
        """Memory for this size, with the hyper symbols' classes and the quality in it."""
        planes = self._sized(width, height)
        if self._hyper_level != (key, q):
            table = self.networks.profile.key_hyper_classes if key else self.networks.profile.inter_hyper_classes
            self.networks.put(np.repeat(table[q], planes.hyper[2] * planes.hyper[3]), planes.classes_of[0])
            self._hyper_level = key, q
        if self._q != q:
            self._q, self._level = q, self.networks.constant(np.array([q], np.int64))
        return planes

    def _cleared(self, planes: Planes) -> Any:
        """Zeros for the y of a frame, in memory that does not hold the one before."""
        decoded = planes.decoded[self.previous is planes.decoded[0]]
        self.kernels.clear(decoded, cuda_stream=self.stream)
        return decoded

    def _plane(self, array: Any, dtype: type[np.generic]) -> Any:
        """(1, C, H, W) of a network as (C, H, W) for a kernel."""
        return self.networks.view(array, self.networks.driver.array("array", array).shape[1:], dtype)

    def _first(self, hyper: Any, key: bool) -> tuple[Any, Any, Any]:
        inputs = {"hyper": hyper, "q": self._level} | ({} if key else {"previous": self.previous})
        features, classes, means = self.networks["key_hyper" if key else "inter_hyper"](**inputs)
        return features, self._plane(classes, np.uint8), self._plane(means, np.int16)

    def _second(self, features: Any, decoded: Any, key: bool) -> tuple[Any, Any]:
        classes, means = self.networks["key_context" if key else "inter_context"](features=features, decoded=decoded)
        return self._plane(classes, np.uint8), self._plane(means, np.int16)

    def _synthesise(self, planes: Planes, decoded: Any, start: Any | None) -> Any:
        """z_m of the frame whose symbols are in the planes; the state stays.

        start: z_m of the frame before, moved; None for a key frame.
        """
        if start is None:
            (z_m,) = self.networks["key_synthesis"](decoded=decoded, q=self._level)
        else:
            count = planes.symbols.size
            self.kernels.widen_symbols(self.networks.view(planes.symbols, (count,), np.int16),
                                       self.networks.view(planes.symbol_values, (count,), np.float32),
                                       cuda_stream=self.stream)
            (z_m,) = self.networks["inter_synthesis"](decoded=decoded, symbols=planes.symbol_values,
                                                      previous=start, q=self._level)
        return z_m

    def _repeat(self, planes: Planes) -> bytes:
        """A P frame in which nothing is coded, an empty section: z_m stays, and nothing moved in it."""
        self.previous, self.field = planes.zeros, MotionField.still(*planes.shape[1:])
        self.decoded, self.moved = planes.zeros, None
        if self.counted:
            self.digest.update(b"R")
        return b""

    def _move_on(self, planes: Planes, decoded: Any, z_m: Any, field: MotionField | None) -> Any:
        """To the state after a frame; field: its motion, None for a key frame."""
        self.z_m, self.previous = z_m, planes.zeros if field is None else decoded
        self.field = MotionField.still(*planes.shape[1:]) if field is None else field
        self.decoded, self.moved = decoded, None
        if field is not None and (self.watched or planes.search is not None):
            self._watch(planes, field)
        return z_m

    def _watch(self, planes: Planes, field: MotionField) -> None:
        """Find where a P frame, whose symbols are in the planes, may have changed z_m."""
        moving = None
        if field.moving.any():
            self.networks.put(field.moving.astype(np.uint8), planes.moving)
            moving = planes.moving
        self.kernels.touched(planes.symbols, planes.touched, planes.coded, moving=moving, cuda_stream=self.stream)
        self.moved = planes.touched

    def _count(self, planes: Planes, field: MotionField | None, *, coded: bool = True) -> None:
        if self.counted:
            self.digest.update(b"K" if field is None else b"P")
            if field is not None and field.moving.any():
                self.digest.update(field.vectors.tobytes())
            if coded:
                for symbols in (planes.symbols_of[0], planes.symbols):
                    self.digest.update(self.networks.get(symbols).astype("<i2").tobytes())
            else:
                self.digest.update(np.zeros(planes.shape, "<i2").tobytes())

    def checked(self, picture: Any, width: int, height: int) -> DeviceArray:
        """The memory of a picture (3, H, W) or (1, 3, H, W) uint8 of this device. Raises TypeError or ValueError."""
        found = self.networks.driver.array("picture", picture)
        if found.dtype != np.uint8 or found.shape not in ((3, height, width), (1, 3, height, width)):
            raise ValueError(f"picture is {found.dtype} {found.shape}; uint8 (3, {height}, {width}) is needed")
        return found

    def pad(self, picture: Any, width: int, height: int) -> Any:
        """A picture as networks take it: padded, in memory that the next one gets too. Raises as ``checked`` does."""
        found = self.checked(picture, width, height)
        target = self._sized(width, height).picture
        self.kernels.pad_picture(self.networks.view(found, (3, height, width), np.uint8),
                                 self._plane(target, np.uint8), cuda_stream=self.stream)
        return target

    def _scaling(self, planes: Planes, gains: GainMap | None) -> DeviceScaling | None:
        """What a frame's gain map does to the planes."""
        if gains is None:
            return None
        if planes.scaling is None:
            planes.scaling = DeviceScaling(self.networks, planes.shape)
        planes.scaling.take(gains)
        return planes.scaling

    def encode(self, picture: Any, *, key: bool, q: int, width: int, height: int, gains: GainMap | None = None
               ) -> bytes:
        """The machine section of a picture (3, H, W) uint8 on the device. The state moves on.

        gains: of this frame, which decoders need too.

        Raises ValueError where a network gives what cannot be coded, DeviceError where the device fails: the state is
        then unusable until a key frame.
        """
        given = self.pad(picture, width, height)
        planes = self._prepare(key, q, width, height)
        if not key and self.z_m is None:
            raise ValueError("a P frame needs a frame before it: the first frame must be a key frame")
        (z,) = self.networks["encoder"](picture=given)
        self.z = z
        if self._searches:
            if planes.search is None:
                planes.search = DeviceMotionSearch(self.networks, self._latent(planes))
            planes.search.see(given, key=key)
        field, start = (None, None) if key else self._find_motion(planes, z, q)
        if start is None:
            y, hyper = self.networks["key_analysis"](z=z, q=self._level)
        else:
            y, hyper = self.networks["inter_analysis"](z=z, previous=start, q=self._level)
        self.kernels.narrow_values(
            self.networks.view(hyper, (planes.hyper_again.size,), np.float32), planes.symbols_of[0],
            limit=HYPER_LIMIT, status=planes.statuses[0], cuda_stream=self.stream)
        first = self._first(hyper, key)
        scaling = self._scaling(planes, gains)
        chosen = self._choose(planes, y, first, key, scaling)
        if field is not None:
            return self._encode_inter(planes, y, first, chosen, start, field, q, scaling)
        z_m = self._synthesise(planes, chosen.decoded, None)
        section = planes.encode(NOTHING)
        self._count(planes, None)
        self._move_on(planes, chosen.decoded, z_m, None)
        return section

    def _encode_inter(self, planes: Planes, y: Any, first: tuple[Any, Any, Any], chosen: Chosen, start: Any,
                      field: MotionField, q: int, scaling: DeviceScaling | None) -> bytes:
        """The section of a P frame whose symbols are in the planes; start: z_m of the frame before, moved by the field.

        As ``duoview.machine`` decides it: without symbols there is the field alone, and without either nothing.
        """
        moves, coded, z_m, worth = bool(field.moving.any()), True, start, math.inf
        # Where nothing moves a section of few bytes tells of it, if all may be coded.
        if moves or self.decision.skip:
            coded = self._any_symbols(planes)
        if coded:
            z_m = self._synthesise(planes, chosen.decoded, start)
            if self.decision.skip:
                chosen, z_m, worth = self._decide(planes, y, first, chosen, z_m, start, field, q, scaling)
                coded = z_m is not start
        parts = motion_parts(field, self.field, coded=coded) if self._compensates else []
        section = b""
        if coded:
            section = planes.encode(joined(parts))
            coded = moves or len(section) >= STILL_BYTES or self._any_symbols(planes)
        else:
            self._check(planes)
            if moves:
                section = rans.encode(*joined(parts))
        self._check_motion(planes, field)
        if not (coded or moves) or 8 * len(section) >= worth:
            return self._repeat(planes)
        self._count(planes, field, coded=coded)
        self._move_on(planes, chosen.decoded if coded else planes.zeros, z_m, field)
        if planes.search is not None:
            planes.search.update(planes.touched)
        return section

    def _latent(self, planes: Planes) -> tuple[int, int, int]:
        """The shape of z_m, without its batch."""
        return self.networks.profile.sizes.latent, *planes.positions

    def _find_motion(self, planes: Planes, z: Any, q: int) -> tuple[MotionField, Any]:
        """The field of a P frame, and z_m of the frame before as it moves that."""
        if planes.search is None:
            return MotionField.still(*planes.shape[1:]), self.z_m
        field = planes.search.field(z, self.z_m, self.field, self._lagrangian(q))
        return field, self._compensate(planes, field)

    def _lagrangian(self, q: int) -> float:
        """What a squared error is worth to an encoder, in bits per pixel."""
        return float(self.networks.profile.lagrangian[q]) / (self.decision.skip or 1)

    def _any_symbols(self, planes: Planes) -> bool:
        """Whether one of the symbols in the planes is not 0; to know it, a byte a position is copied to the host."""
        self.kernels.touched(planes.symbols, planes.touched, planes.coded, cuda_stream=self.stream)
        return bool(self.networks.get(planes.coded).any())

    def _check(self, planes: Planes) -> None:
        """Wait for what made symbols. Raises ValueError for what cannot be coded."""
        for status in planes.statuses:
            self.kernels.check(status, cuda_stream=self.stream)

    def _choose(self, planes: Planes, y: Any, first: tuple[Any, Any, Any], key: bool,
                scaling: DeviceScaling | None, keep: Any = None) -> Chosen:
        """The symbols of y, none where ``keep`` (H, W) is False, in coding order too."""
        run, stream = self.kernels, self.stream
        features, classes, means = first
        decoded, used = self._cleared(planes), []
        for half in (0, 1):
            if half:
                classes, means = self._second(features, decoded, key)
            values, subtracted, plane = self._plane(y, np.float32), means, self._plane(decoded, np.float32)
            if scaling is not None:
                classes, values = scaling.classes(classes, half), scaling.values(values, means)
                subtracted = scaling.no_means
            used.append(classes)
            run.quantise_half(values, classes, subtracted, half, margins=self._margins[key], keep=keep,
                              symbols=planes.symbols, decoded=plane, status=planes.statuses[1 + half],
                              cuda_stream=stream)
            if scaling is not None:
                scaling.restore(planes.symbols, means, half, plane)
            run.gather_half(classes, planes.classes_of[1 + half], half, cuda_stream=stream)
            run.gather_half(planes.symbols, planes.symbols_of[1 + half], half, cuda_stream=stream)
        return Chosen(decoded, (used[0], used[1]))

    def _decide(self, planes: Planes, y: Any, first: tuple[Any, Any, Any], chosen: Chosen, z_m: Any, start: Any,
                field: MotionField, q: int, scaling: DeviceScaling | None) -> tuple[Chosen, Any, float]:
        """What of a P frame is worth its bits, as ``duoview.machine`` decides it, on copies of latents and symbols.

        The choice, its z_m, which is ``start`` where nothing is, and the bits that it is worth in all.
        """
        get, profile = self.networks.get, self.networks.profile
        symbols, lagrangian, target, before = get(planes.symbols), self._lagrangian(q), get(self.z), get(start)
        gain = picture_gain(target, before, get(z_m), profile.latent_weight)
        classes = np.where(first_half(*symbols.shape), get(chosen.classes[0]), get(chosen.classes[1]))
        keep = worth_coding(gain, extra_bits(symbols, classes).sum(0), lagrangian)
        if symbols[:, ~keep].any():
            self.networks.put(keep, planes.keep)
            chosen = self._choose(planes, y, first, False, scaling, planes.keep)
            z_m = start
            if self._any_symbols(planes):
                z_m = self._synthesise(planes, chosen.decoded, start)
            gain = picture_gain(target, before, get(z_m), profile.latent_weight)
        if field.moving.any():
            gain = picture_gain(target, get(self.z_m), get(z_m), profile.latent_weight)
        return chosen, z_m, lagrangian * BLOCK_PIXELS * float(gain.sum())

    def decode(self, payload: bytes, *, key: bool, q: int, width: int, height: int, gains: GainMap | None = None
               ) -> Any:
        """z_m (1, latent, H/8, W/8) of a machine section, on the device.

        Raises BitstreamError, after which the state is unusable.
        """
        if not key and self.z_m is None:
            raise BitstreamError("P frame without a frame before it", offset=0)
        planes = self._prepare(key, q, width, height)
        if not key and self.z_m is None:
            raise BitstreamError("P frame of another size than the frame before it", offset=0)
        if not key and not payload:
            self._repeat(planes)
            return self.z_m
        field, lead = (None, None) if key else self._read_motion(planes, payload)
        start = None if field is None else self._compensate(planes, field)
        if field is not None and lead is None:
            self._check_motion(planes, field)
            self._count(planes, field, coded=False)
            self.kernels.clear(planes.symbols, cuda_stream=self.stream)
            return self._move_on(planes, planes.zeros, start, field)
        run, stream, networks = self.kernels, self.stream, self.networks
        data = networks.empty((len(payload),), np.uint8)
        networks.put(np.frombuffer(payload, np.uint8), data)
        decoder = run.decoder(data, planes.state, cuda_stream=stream)
        if lead is not None and lead.size:
            known = networks.empty(lead.shape, np.uint8)
            networks.put(lead, known)
            decoder.decode(known, networks.empty(lead.shape, np.int16), planes.decode_scratch, cuda_stream=stream)
        decoder.decode(planes.classes_of[0], planes.symbols_of[0], planes.decode_scratch, cuda_stream=stream)
        flat = networks.view(planes.hyper_values, (planes.hyper_again.size,), np.float32)
        run.widen_symbols(planes.symbols_of[0], flat, cuda_stream=stream)
        run.narrow_values(flat, planes.hyper_again, limit=HYPER_LIMIT, status=planes.statuses[0], cuda_stream=stream)
        check(decoder, stream)
        try:
            run.check(planes.statuses[0], cuda_stream=stream)
        except ValueError:
            raise BitstreamError(f"hyper symbol beyond +-{HYPER_LIMIT}", offset=0) from None
        features, classes, means = self._first(planes.hyper_values, key)
        decoded, scaling = self._cleared(planes), self._scaling(planes, gains)
        for half in (0, 1):
            if half:
                classes, means = self._second(features, decoded, key)
            if scaling is not None:
                classes = scaling.classes(classes, half)
            ordered, part = planes.classes_of[1 + half], planes.symbols_of[1 + half]
            run.gather_half(classes, ordered, half, cuda_stream=stream)
            decoder.decode(ordered, part, planes.decode_scratch, cuda_stream=stream)
            plane = self._plane(decoded, np.float32)
            run.dequantise_half(part, means, half, symbols=planes.symbols, decoded=plane, cuda_stream=stream)
            if scaling is not None:
                scaling.restore(planes.symbols, means, half, plane)
        decoder.finish(cuda_stream=stream)
        check(decoder, stream)
        self._check_motion(planes, field)
        self._count(planes, field)
        return self._move_on(planes, decoded, self._synthesise(planes, decoded, start), field)

    def _read_motion(self, planes: Planes, payload: bytes) -> tuple[MotionField, NDArray[np.uint8] | None]:
        """The field that a P frame's payload begins with, and the classes of what stands in front of its symbols.

        None where no symbols follow. Raises BitstreamError.
        """
        if not self._compensates:
            return MotionField.still(*planes.shape[1:]), np.empty(0, np.uint8)
        reader = Decoder(payload)
        field = MotionField.read(reader, self.field)
        if read_coded(reader):
            return field, joined(motion_parts(field, self.field, coded=True))[1]
        reader.finish()
        if not field.moving.any():
            raise BitstreamError("neither motion nor symbols: expected an empty section", offset=0)
        return field, None

    def _compensate(self, planes: Planes, field: MotionField) -> Any:
        """z_m of the frame before, moved; where nothing moves it is the same array."""
        if not field.moving.any():
            return self.z_m
        if planes.compensation is None:
            planes.compensation = DeviceCompensation(self.networks, self._latent(planes))
        return planes.compensation.compensate(self.z_m, field)

    def _check_motion(self, planes: Planes, field: MotionField | None) -> None:
        """Wait until z_m was moved. Raises ValueError where it cannot be."""
        if planes.compensation is not None and field is not None and field.moving.any():
            self.kernels.check(planes.compensation.status, cuda_stream=self.stream)
