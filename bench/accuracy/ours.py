"""Our coders: access units in NUT, written by our own container, and the machine view of what is read from it."""

from __future__ import annotations

import functools
import hashlib
import io
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import av

import duoview
from bench.accuracy.clip import Clip
from bench.accuracy.codec import Codec, Setup, Variant, fresh
from duoview import Decoder, Encoder, Profile


class Ours(Codec):
    """duoview's Encoder and Decoder.

    restore: as of Decoder; None for what it does by itself. options: further arguments of the Encoder, which make the
    coders differ.
    """

    ours: ClassVar[bool] = True

    def __init__(self, name: str, variant: Variant, setup: Setup, *, restore: bool | None = None,
                 **options: Any) -> None:
        super().__init__(name, variant, range(64))
        self.profile = Profile(setup.profile)
        self._threads, self._restore, self._options = setup.threads, restore, options

    @property
    def version(self) -> str:
        told = self._options if self._restore is None else {**self._options, "restore": self._restore}
        options = "".join(f", {name}={value!r}" for name, value in sorted(told.items()))
        return (f"duoview {duoview.__version__}, profile {self.profile.sha256.hex()[:12]}, code {_code_sha256()[:12]}"
                f"{options}")

    def _encode(self, clip: Clip, quality: int) -> bytes:
        encoder = Encoder(clip.width, clip.height, rate=clip.rate, q=quality, gop=self.variant.gop(clip),
                          profile=self.profile, threads=self._threads, **self._options)
        packets = [packet for number, frame in enumerate(clip.frames)
                   for packet in encoder.encode(fresh(frame, number, clip.rate))] + encoder.encode(None)
        file = io.BytesIO()
        with duoview.open(file, "w", "nut") as sink:
            # Coders that reorder frames take finer ticks than those of the clip.
            ticks = packets[0].time_base or Fraction(1 / clip.rate)
            sink.add_stream(rate=clip.rate, width=clip.width, height=clip.height, time_base=ticks)
            sink.mux(packets)
        return file.getvalue()

    def _decode(self, data: bytes) -> list[av.VideoFrame]:
        decoder = Decoder(profile=self.profile, threads=self._threads, strict=True, restore=self._restore)
        with duoview.open(io.BytesIO(data)) as source:
            frames = [frame for packet in source.demux() for frame in decoder.decode(packet)]
        return frames + decoder.decode(None)


@functools.cache
def _code_sha256() -> str:
    """Digest of every module and library of the codec and the kernels: whatever may change a byte of a stream."""
    digest = hashlib.sha256()
    for package in (duoview, duoview.kernels):
        for folder in map(Path, package.__path__):
            for path in sorted(item for item in folder.rglob("*") if item.suffix in (".py", ".so", ".pyd")):
                digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
