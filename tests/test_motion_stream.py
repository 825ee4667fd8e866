"""P frames with motion compensation: encoders and decoders stay together, and motion is sent where it pays."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from duoview import machine
from duoview.backends import CpuBackend
from duoview.decision import SymbolDecision
from duoview.errors import BitstreamError
from duoview.machine import MachineLayer
from duoview.motion_field import MotionField
from duoview.motion_search import MotionSearch
from duoview.profile import Profile

Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def photograph() -> Picture:
    return pytest.importorskip("skimage.data").astronaut()


def window(photograph: Picture, top: int, left: int, rows: int = 128, columns: int = 192) -> Picture:
    """(1, 3, rows, columns) of a photograph."""
    return np.ascontiguousarray(photograph[top:top + rows, left:left + columns].transpose(2, 0, 1)[None])


def layers(decision: SymbolDecision | None = None) -> tuple[MachineLayer, MachineLayer]:
    profile, backend = Profile("s"), CpuBackend(1)
    return (MachineLayer(profile, backend, encode=True, decision=decision),
            MachineLayer(profile, backend, encode=False))


def decode(decoder: MachineLayer, payload: bytes, picture: Picture, *, key: bool, q: int) -> NDArray[np.float32]:
    return decoder.decode(payload, key=key, q=q, width=picture.shape[3], height=picture.shape[2])


def pan(photograph: Picture, frames: int, step: tuple[int, int] = (2, 7)) -> list[Picture]:
    return [window(photograph, 20 + step[0] * n, 60 + step[1] * n) for n in range(frames)]


def test_decoders_have_the_encoders_state_after_every_frame_that_moves(photograph: Picture) -> None:
    encoder, decoder = layers()
    moved = 0
    for n, picture in enumerate(pan(photograph, 6)):
        payload = encoder.encode(picture, key=n == 0, q=30)
        z_m = decode(decoder, payload, picture, key=n == 0, q=30)
        assert encoder.z_m is not None and np.array_equal(z_m, encoder.z_m)
        assert np.array_equal(decoder.field.vectors, encoder.field.vectors)
        assert np.array_equal(decoder.moved, encoder.moved)
        moved += int(encoder.field.moving.sum())
    assert decoder.digest.digest() == encoder.digest.digest()
    assert moved > 100


def test_more_threads_than_kernels_run_on_code_and_decode_as_one_does(photograph: Picture) -> None:
    profile, backend = Profile("s"), CpuBackend(1)
    few, many = (MachineLayer(profile, backend, encode=True, threads=threads) for threads in (1, 1024))
    decoder = MachineLayer(profile, backend, encode=False, threads=1024)
    for n, picture in enumerate(pan(photograph, 2)):
        payload = many.encode(picture, key=n == 0, q=30)
        assert payload == few.encode(picture, key=n == 0, q=30)
        z_m = decode(decoder, payload, picture, key=n == 0, q=30)
        assert many.z_m is not None and np.array_equal(z_m, many.z_m)
    assert many.field.moving.any()


def test_where_bits_count_for_nothing_beside_errors_motion_is_chosen_as_where_they_count_for_little(
        photograph: Picture) -> None:
    fields = []
    for skip in (1e-10, 1e-31):
        encoder, _ = layers(SymbolDecision(skip=skip))
        for n, picture in enumerate(pan(photograph, 2)):
            encoder.encode(picture, key=n == 0, q=30)
        fields.append(encoder.field.vectors)
    assert fields[0].any() and np.array_equal(fields[0], fields[1])


def test_a_pan_is_sent_as_the_vector_that_it_is(photograph: Picture) -> None:
    encoder, _ = layers()
    for n, picture in enumerate(pan(photograph, 3)):
        encoder.encode(picture, key=n == 0, q=30)
    vectors = encoder.field.vectors[encoder.field.moving]
    assert len(vectors) > 60
    # The window moves by (2, 7) pixels: what it shows comes from as much further down and right, in half pixels.
    near = np.abs(vectors.astype(int) - [4, 14]).max(1) <= 1
    assert near.mean() > 0.8


def test_motion_takes_a_third_of_the_bytes_of_a_pan_away_and_the_picture_is_no_worse(
        photograph: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    def code() -> tuple[int, float]:
        encoder, _ = layers()
        profile = Profile("s")
        show = profile.load("decoder", CpuBackend(1))
        size, error = 0, 0.0
        for n, picture in enumerate(pan(photograph, 5)):
            payload = encoder.encode(picture, key=n == 0, q=30)
            if n:
                assert encoder.z_m is not None
                (shown,) = show(z=encoder.z_m)
                size += len(payload)
                error += float(np.square(shown.astype(float) - picture).mean())
        return size, error

    size, error = code()
    monkeypatch.setattr(MotionSearch, "field", lambda self, *given: MotionField.still(*given[4].vectors.shape[:2]))
    size_still, error_still = code()
    assert size < 2 / 3 * size_still
    assert error < 1.02 * error_still


def test_a_still_scene_with_noise_has_no_motion(photograph: Picture) -> None:
    encoder, _ = layers()
    random = np.random.default_rng(3)
    picture = window(photograph, 30, 80).astype(float)
    for n in range(4):
        noisy = np.clip(picture + random.normal(0, 2, picture.shape) + 0.5, 0, 255).astype(np.uint8)
        payload = encoder.encode(noisy, key=n == 0, q=30)
        if n:
            assert not encoder.field.moving.any()
            assert payload == b""


def test_motion_alone_is_sent_without_symbols(photograph: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, decoder = layers()
    first, second = pan(photograph, 2)
    decode(decoder, encoder.encode(first, key=True, q=30), first, key=True, q=30)
    monkeypatch.setattr(machine, "worth_coding", lambda gain, bits, lagrangian: np.zeros_like(gain, np.bool_))
    payload = encoder.encode(second, key=False, q=30)
    z_m = decode(decoder, payload, second, key=False, q=30)
    assert 4 < len(payload) < 60
    assert encoder.field.moving.any() and encoder.decoded is not None and not encoder.decoded.any()
    assert encoder.z_m is not None and np.array_equal(z_m, encoder.z_m)
    assert decoder.digest.digest() == encoder.digest.digest()
    # The next frame goes on from there.
    third = pan(photograph, 3)[2]
    monkeypatch.undo()
    payload = encoder.encode(third, key=False, q=30)
    assert np.array_equal(decode(decoder, payload, third, key=False, q=30), encoder.z_m)


def test_a_repeated_frame_ends_the_motion_before_it(photograph: Picture) -> None:
    encoder, decoder = layers()
    pictures = pan(photograph, 3)
    pictures += [pictures[-1]] * 8
    empty = 0
    for n, picture in enumerate(pictures):
        payload = encoder.encode(picture, key=n == 0, q=20)
        decode(decoder, payload, picture, key=n == 0, q=20)
        if not payload:
            empty += 1
            assert not encoder.field.moving.any() and not decoder.field.moving.any()
            assert not encoder.moved.any()
    assert empty >= 1


def test_neither_motion_nor_symbols_in_a_payload_is_refused(photograph: Picture) -> None:
    encoder, decoder = layers()
    picture = window(photograph, 30, 80)
    decode(decoder, encoder.encode(picture, key=True, q=20), picture, key=True, q=20)
    still = MotionField.still(8, 12)
    parts = [*still.write(still), (np.array([0], np.int16), np.array([170], np.uint8))]
    symbols, classes = zip(*parts, strict=True)
    payload = machine.kernels.encode(np.concatenate(symbols), np.concatenate(classes))
    with pytest.raises(BitstreamError, match="neither motion nor symbols"):
        decode(decoder, payload, picture, key=False, q=20)


def test_damage_of_motion_is_an_error_or_other_symbols_and_never_a_crash(photograph: Picture) -> None:
    encoder, _ = layers()
    first, second = pan(photograph, 2)
    key = encoder.encode(first, key=True, q=20)
    payload = encoder.encode(second, key=False, q=20)
    _, decoder = layers()
    refused = 0
    for at in range(min(len(payload), 24)):
        damaged = bytearray(payload)
        damaged[at] ^= 0x55
        decoder.reset()
        decode(decoder, key, first, key=True, q=20)
        try:
            decode(decoder, bytes(damaged), second, key=False, q=20)
        except BitstreamError:
            refused += 1
    assert refused > 12


def test_what_z_m_shows_is_searched_for_not_the_frame_before(photograph: Picture) -> None:
    """A slow pan that is not worth a vector from frame to frame is one by and by."""
    encoder, _ = layers()
    moved = 0
    for n in range(10):
        picture = window(photograph, 40, 80 + n // 2)
        encoder.encode(picture, key=n == 0, q=24)
        moved += int(encoder.field.moving.any())
    assert moved >= 1
    assert encoder.z_m is not None
    (shown,) = Profile("s").load("decoder", CpuBackend(1))(z=encoder.z_m)
    assert np.square(shown.astype(float) - picture).mean() < 0.7 * np.square(
        shown.astype(float) - window(photograph, 40, 80)).mean()


def test_what_motion_alone_changed_is_told_and_nothing_else_changes(
        photograph: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texture of a decoder is forgotten there, and there only."""
    encoder, decoder = layers()
    first, second = pan(photograph, 2)
    second[..., :96] = first[..., :96]
    before = decode(decoder, encoder.encode(first, key=True, q=30), first, key=True, q=30).copy()
    monkeypatch.setattr(machine, "worth_coding", lambda gain, bits, lagrangian: np.zeros_like(gain, np.bool_))
    payload = encoder.encode(second, key=False, q=30)
    changed = (decode(decoder, payload, second, key=False, q=30) != before).any((0, 1))
    assert changed[:, 12:].mean() > 0.3
    assert not changed[~decoder.moved].any()
    assert not decoder.moved[:, :8].any()
