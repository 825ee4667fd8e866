"""The bundled profile computes the same under torch and onnxruntime."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import onnx
import pytest

import duoview
from duoview.backends import CpuBackend
from duoview.export.torch_backend import TorchBackend, settings
from duoview.golden import exact_inputs
from duoview.profile import EXACT, NETWORKS, OPTIONAL, TEXTURE, TEXTURE_ANALYSIS


@pytest.fixture(scope="module")
def profile() -> duoview.Profile:
    return duoview.Profile("s")


def test_torch_reproduces_every_golden_vector(profile: duoview.Profile) -> None:
    results = profile.verify(TorchBackend())
    assert len(results) >= 16
    assert all(r.passed for r in results)


@pytest.mark.parametrize("name", EXACT)
def test_exact_networks_give_equal_integers_on_torch_and_onnxruntime(profile: duoview.Profile, name: str) -> None:
    sizes = profile.manifest["sizes"]
    for height, width, saturate in ((5, 7, False), (6, 10, True)):
        inputs = exact_inputs(name, sizes, height, width, saturate)
        ours = TorchBackend().load(profile.path(name))(**inputs)
        theirs = CpuBackend().load(profile.path(name))(**inputs)
        for a, b in zip(ours, theirs, strict=True):
            assert np.array_equal(a, b)


def moving_square(n: int) -> av.VideoFrame:
    picture = np.full((96, 160, 3), 90, np.uint8)
    picture[:, :, 1] = np.arange(160)[None]
    picture[20:60, 10 + 8 * n:50 + 8 * n] = (200, 40, 60)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame.pts, frame.time_base = n, Fraction(1, 10)
    return frame


def test_a_stream_from_onnxruntime_decodes_to_the_same_symbols_under_torch(profile: duoview.Profile) -> None:
    encoder = duoview.Encoder(160, 96, rate=10, q=40, gop=8, profile=profile)
    packets = [p for n in range(6) for p in encoder.encode(moving_square(n))]
    decoders = [duoview.Decoder(profile=profile, strict=True),
                duoview.Decoder(profile=profile, device=TorchBackend(), strict=True)]
    pictures = [[f.to_ndarray(format="rgb24") for p in packets for f in d.decode(p)] for d in decoders]
    assert decoders[0].symbols_sha256() == decoders[1].symbols_sha256() == encoder.symbols_sha256()
    worst = max(int(np.abs(a.astype(int) - b.astype(int)).max()) for a, b in zip(*pictures, strict=True))
    assert worst <= 3


def test_every_network_of_the_profile_is_in_the_manifest(profile: duoview.Profile) -> None:
    of_texture = {*TEXTURE, TEXTURE_ANALYSIS}
    assert sorted(set(profile.manifest["networks"]) - {*OPTIONAL, *of_texture}) == sorted(NETWORKS)


def test_sizes_that_operators_read_stay_on_the_host_and_numbers_that_are_computed_with_do_not() -> None:
    node = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [node("Shape", ["x"], ["sizes"]), node("Gather", ["sizes", "which"], ["sides"]),
         node("Concat", ["sides", "rest"], ["shape"]), node("Reshape", ["x", "shape"], ["flat"]),
         node("Clip", ["flat", "low", "high"], ["cut"]), node("Add", ["cut", "low"], ["y"])], "sizes", [], [])
    assert settings(graph) == {"sizes", "which", "sides", "rest", "shape", "high"}
    # One index of sizes and of numbers: both are computed where the numbers are.
    graph.node.append(node("Gather", ["y", "which"], ["z"]))
    assert settings(graph) == {"high"}
