"""P frames with motion compensation on a device: what the encoder made is decoded there, and the other way round."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
from numpy.typing import NDArray

from duoview import kernels
from duoview.backends import CpuBackend
from duoview.decision import SymbolDecision
from duoview.device import DeviceNetworks
from duoview.device.machine import DeviceMachineLayer, joined
from duoview.errors import BitstreamError
from duoview.machine import MachineLayer, motion_parts
from duoview.motion_compensation import REACH, SHIFTS
from duoview.motion_field import LIMIT, MotionField
from duoview.motion_search import MotionSearch
from duoview.profile import Profile

Picture = NDArray[np.uint8]
WIDTH, HEIGHT = 128, 128


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """The bundled one with operators that are the identity and a little more."""
    folder = tmp_path_factory.mktemp("profile") / "s"
    shutil.copytree(Profile("s").folder, folder)
    latent = Profile("s").sizes.latent
    weights = np.random.default_rng(5).integers(-3, 4, (SHIFTS, SHIFTS, latent * 9, latent))
    weights[REACH, REACH] = 0
    weights[:, :, np.arange(latent) * 9 + 4, np.arange(latent)] = 512
    np.savez_compressed(folder / "motion.npz", allow_pickle=False, weights=weights.astype(np.int16))
    manifest = json.loads((folder / "profile.json").read_text())
    manifest["motion"] = {"file": "motion.npz",
                          "sha256": hashlib.sha256((folder / "motion.npz").read_bytes()).hexdigest()}
    (folder / "profile.json").write_text(json.dumps(manifest))
    return Profile(folder)


@pytest.fixture(scope="module")
def networks(profile: Profile) -> DeviceNetworks:
    return DeviceNetworks(profile, "cpu", threads=1)


@pytest.fixture(scope="module")
def pan() -> list[Picture]:
    """(3, HEIGHT, WIDTH) of a photograph that moves by."""
    photograph = pytest.importorskip("skimage.data").astronaut()
    return [np.ascontiguousarray(photograph[20 + 2 * n:][:HEIGHT, 60 + 7 * n:][:, :WIDTH].transpose(2, 0, 1))
            for n in range(4)]


def moved(monkeypatch: pytest.MonkeyPatch, *vectors: tuple[int, int]) -> None:
    """The search of encoders finds these, one a frame, for every other column of cells."""
    coming = iter(vectors)

    def field(self: MotionSearch, *given: object) -> MotionField:
        found = np.zeros((HEIGHT // 16, WIDTH // 16, 2), np.int8)
        found[:, ::2] = next(coming)
        return MotionField(found)

    monkeypatch.setattr(MotionSearch, "field", field)


def decoded(layer: DeviceMachineLayer | MachineLayer, payload: bytes, key: bool) -> NDArray[np.float32]:
    found: NDArray[np.float32] = layer.decode(payload, key=key, q=30, width=WIDTH, height=HEIGHT)
    return found


def test_a_device_decodes_the_motion_that_the_encoder_sends(
        profile: Profile, networks: DeviceNetworks, pan: list[Picture], monkeypatch: pytest.MonkeyPatch) -> None:
    moved(monkeypatch, (4, 14), (4, 14), (0, 0), (-LIMIT, 3))
    encoder = MachineLayer(profile, CpuBackend(1), encode=True, decision=SymbolDecision(skip=0.0))
    device = DeviceMachineLayer(networks, digest=True)
    for n, picture in enumerate([*pan, pan[0]]):
        payload = encoder.encode(picture[None], key=n == 0, q=30)
        assert payload and encoder.field.moving.any() == (n not in (0, 3))
        np.testing.assert_array_equal(decoded(device, payload, n == 0), encoder.z_m)
        np.testing.assert_array_equal(device.field.vectors, encoder.field.vectors)
    assert device.digest.digest() == encoder.digest.digest()


def motion_alone(field: MotionField, before: MotionField) -> bytes:
    """The payload of a P frame that has no symbols."""
    symbols, classes = joined(motion_parts(field, before, coded=False))
    return kernels.encode(symbols, classes)


def field_of(seed: int) -> MotionField:
    """Any vectors, in a third of the cells."""
    random = np.random.default_rng(seed)
    vectors = random.integers(-LIMIT, LIMIT + 1, (HEIGHT // 16, WIDTH // 16, 2))
    return MotionField((vectors * (random.random((HEIGHT // 16, WIDTH // 16, 1)) < 0.3)).astype(np.int8))


STILL = MotionField.still(HEIGHT // 16, WIDTH // 16)


def test_motion_without_symbols_and_empty_sections_are_decoded_on_a_device(
        profile: Profile, networks: DeviceNetworks, pan: list[Picture]) -> None:
    first, second = field_of(1), field_of(2)
    payloads = [MachineLayer(profile, CpuBackend(1), encode=True).encode(pan[0][None], key=True, q=30),
                motion_alone(first, STILL), motion_alone(second, first), b"", motion_alone(first, STILL)]
    device, host = DeviceMachineLayer(networks, digest=True), MachineLayer(profile, CpuBackend(1), encode=False)
    before = None
    for n, payload in enumerate(payloads):
        z_m = decoded(device, payload, n == 0)
        np.testing.assert_array_equal(z_m, decoded(host, payload, n == 0))
        np.testing.assert_array_equal(device.field.vectors, host.field.vectors)
        assert before is None or np.array_equal(z_m, before) == (payload == b"")
        before = z_m.copy()
    assert device.digest.digest() == host.digest.digest()


@pytest.mark.parametrize("decision", [SymbolDecision(skip=0.0), SymbolDecision()])
def test_a_device_codes_what_the_encoder_does_where_nothing_moves(
        profile: Profile, networks: DeviceNetworks, pan: list[Picture], decision: SymbolDecision,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MotionSearch, "field", lambda self, *given: STILL)
    device = DeviceMachineLayer(networks, decision, digest=True)
    host = MachineLayer(profile, CpuBackend(1), encode=True, decision=decision)
    reader = MachineLayer(profile, CpuBackend(1), encode=False)
    for n, picture in enumerate((pan[0], pan[0], *pan[1:3])):
        section = device.encode(picture, key=n == 0, q=30, width=WIDTH, height=HEIGHT)
        assert section == host.encode(picture[None], key=n == 0, q=30)
        np.testing.assert_array_equal(decoded(reader, section, n == 0), device.z_m)
    assert device.digest.digest() == host.digest.digest() == reader.digest.digest()


def test_where_a_frame_may_have_changed_is_what_the_host_says(
        profile: Profile, networks: DeviceNetworks, pan: list[Picture], monkeypatch: pytest.MonkeyPatch) -> None:
    moved(monkeypatch, (4, 14), (0, 0))
    encoder = MachineLayer(profile, CpuBackend(1), encode=True)
    still = [encoder.encode(pan[0][None], key=True, q=30), motion_alone(field_of(1), STILL), b"",
             motion_alone(field_of(2), STILL)]
    moves = [encoder.encode(pan[1][None], key=False, q=30), encoder.encode(pan[2][None], key=False, q=30)]
    for payloads in (still, [still[0], *moves]):
        device, host = DeviceMachineLayer(networks), MachineLayer(profile, CpuBackend(1), encode=False)
        device.watched = True
        for n, payload in enumerate(payloads):
            for layer in (device, host):
                decoded(layer, payload, n == 0)
            if n:
                expected = host.moved
                found = np.zeros_like(expected) if device.moved is None else device.moved > 0
                np.testing.assert_array_equal(found, expected)
                assert expected.any() == (payload != b"") and not expected.all()


def test_damaged_motion_is_damage_on_a_device_too(
        profile: Profile, networks: DeviceNetworks, pan: list[Picture], monkeypatch: pytest.MonkeyPatch) -> None:
    moved(monkeypatch, (4, 14))
    encoder, device = MachineLayer(profile, CpuBackend(1), encode=True), DeviceMachineLayer(networks)
    key, payload = (encoder.encode(pan[n][None], key=n == 0, q=30) for n in (0, 1))
    for wrong in (motion_alone(STILL, STILL), payload[:3], payload[:-2], payload + b"\0",
                  motion_alone(field_of(1), STILL) + b"\0\0"):
        decoded(device, key, True)
        with pytest.raises(BitstreamError):
            decoded(device, wrong, False)
    decoded(device, key, True)
    np.testing.assert_array_equal(decoded(device, payload, False), encoder.z_m)
