"""Which picture a decoder shows for a frame that repeats the one before it, and what it costs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from duoview import Decoder, Encoder, FrameOrigin, Profile
from duoview.access_unit import Section, SectionType, parse, serialize
from duoview.backends import Backend, Network
from duoview.human import Floats, Hints, HumanView

PHOTOGRAPH = data.astronaut()[20:100, 130:230]


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


def encode(profile: Profile, count: int, q: int = 24) -> list[av.Packet]:
    """Units of a panning photograph, a key unit first."""
    encoder = Encoder(96, 80, rate=Fraction(25), q=q, profile=profile, threads=1)
    views = [np.ascontiguousarray(PHOTOGRAPH[:, step:step + 96]) for step in range(count)]
    return [packet for view in views for packet in encoder.encode(av.VideoFrame.from_ndarray(view, format="rgb24"))]


def concealed(frame: av.VideoFrame) -> bool:
    assert isinstance(frame.opaque, FrameOrigin)
    return frame.opaque.concealed


def repeating(packet: av.Packet, q: int) -> bytes:
    """The P unit of ``packet`` at another quality and with nothing coded."""
    sections = (Section(SectionType.QUALITY, None, bytes([q])), Section(SectionType.MACHINE, None, b""))
    return serialize(dataclasses.replace(parse(bytes(packet)), sections=sections))


def test_a_repeated_frame_is_shown_as_it_was_without_diffusion(profile: Profile, monkeypatch: pytest.MonkeyPatch
                                                               ) -> None:
    packets = encode(profile, 2, q=10)
    decoder = Decoder(profile=profile, threads=1, view="human", steps=1, strict=True)
    (first,) = decoder.decode(packets[0])
    monkeypatch.setattr(HumanView, "latent", None)
    (second,) = decoder.decode(repeating(packets[1], 50))
    assert not concealed(second)
    assert np.array_equal(second.to_ndarray(), first.to_ndarray())


def test_a_repeat_of_a_discarded_frame_shows_it_at_its_own_quality(profile: Profile, monkeypatch: pytest.MonkeyPatch
                                                                   ) -> None:
    packets = encode(profile, 2, q=10)
    made: list[int] = []
    latent = HumanView.latent

    def counted(view: HumanView, z_m: Floats, q: int, *more: Hints) -> Floats:
        made.append(q)
        return latent(view, z_m, q, *more)

    monkeypatch.setattr(HumanView, "latent", counted)
    decoder = Decoder(profile=profile, threads=1, view="human", steps=1, strict=True)
    assert decoder.decode(packets[0], discard=True) == []
    assert len(decoder.decode(repeating(packets[1], 50))) == 1
    assert made == [10]


def test_a_human_view_that_failed_leaves_no_machine_view_behind(profile: Profile, monkeypatch: pytest.MonkeyPatch
                                                                ) -> None:
    packets = encode(profile, 1)
    decoder = Decoder(profile=profile, threads=1, view="human", steps=1)

    def full(view: HumanView, z_m: Floats, q: int, *more: Hints) -> Floats:
        raise MemoryError(q)

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(HumanView, "latent", full)
        decoder.decode(packets[0])
    (shown,) = decoder.decode(b"damage")
    (expected,) = Decoder(profile=profile, threads=1, view="human", steps=1).decode(packets[0])
    assert np.array_equal(shown.to_ndarray(), expected.to_ndarray())


def test_a_picture_is_repeated_by_the_profile_that_it_was_coded_with(profile: Profile, tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    def black(**inputs: NDArray[Any]) -> list[NDArray[Any]]:
        return [np.zeros((1, 3, 8 * inputs["z"].shape[2], 8 * inputs["z"].shape[3]), np.uint8)]

    class Other(Profile):
        """Of another name, with a decoder that shows black."""

        def load(self, network: str, backend: Backend) -> Network:
            return super().load(network, backend) if network != "decoder" else black

    shutil.copytree(profile.folder, tmp_path, dirs_exist_ok=True)
    manifest = json.loads((tmp_path / "profile.json").read_text())
    (tmp_path / "profile.json").write_text(json.dumps({**manifest, "name": "other"}))
    other = Other(tmp_path)
    monkeypatch.setattr(Profile, "bundled", {"s": profile, "other": other}.__getitem__)
    (first,), (second,) = encode(profile, 1), encode(other, 1)
    decoder = Decoder(threads=1)
    assert decoder.decode(first, discard=True) == []
    # With a section more it has the long form: its header is intact, its last sections are cut off.
    unit = parse(bytes(second))
    longer = serialize(dataclasses.replace(unit, sections=(*unit.sections, Section(100, None, b""))))
    (shown,) = decoder.decode(longer[:-5])
    assert concealed(shown)
    assert np.array_equal(shown.to_ndarray(), Decoder(profile=profile, threads=1).decode(first)[0].to_ndarray())
