"""A file with other inputs, a GPU that is out of memory or lost in mid-stream: one line, and a stream that is whole."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import duoview
from duoview import Decoder, Encoder, Profile, ProfileError
from duoview.backends import CpuBackend, onnxruntime_cuda
from duoview.backends.cuda_graph import CapturedNetwork
from duoview.backends.onnxruntime_cuda import BoundNetwork, CudaBackend
from duoview.errors import BackendUnavailableError
from duoview.pipelines.command import main

LOST = "CUDA failure 719: unspecified launch failure ; GPU=0\n expr=cudaStreamSynchronize"


class Lost:
    """A session on the CPU that fails as onnxruntime does when the GPU is gone, after so many calls of all of them."""

    left = 0

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session

    def run_with_iobinding(self, binding: Any, options: Any = None) -> None:
        Lost.left -= 1
        if Lost.left < 0:
            raise RuntimeError(LOST)
        self._session.run_with_iobinding(binding, options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: CudaBackend, path: Path) -> BoundNetwork | CapturedNetwork:
        session: Any = Lost(CpuBackend(1).load(path).session)
        return (CapturedNetwork if self.graphs else BoundNetwork)(session, "cpu", 0, path)

    monkeypatch.setattr(onnxruntime_cuda, "unavailable", lambda: "")
    monkeypatch.setattr(CudaBackend, "load", load)


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize("graphs", [False, True])
def test_a_gpu_that_fails_is_an_error_that_names_the_network(graphs: bool) -> None:
    Lost.left = 10_000
    network = CudaBackend(graphs=graphs).load(Profile("s").path("encoder"))
    picture = np.zeros((1, 3, 64, 64), np.uint8)
    assert network(picture=picture)[0].shape == (1, 48, 8, 8)
    Lost.left = 0
    with pytest.raises(BackendUnavailableError, match=r"encoder failed \(CUDA failure 719: .*GPU=0 expr=cuda"):
        network(picture=picture)


@pytest.mark.usefixtures("failing")
def test_a_gpu_that_is_lost_in_mid_stream_ends_it_with_one_line_and_what_is_there_decodes(
        tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Lost.left = 16 + 30  # golden vectors of the exact networks, then some frames
    out = tmp_path / "out.nut"
    words = ["encode", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=2", "-machine", "neural",
             "-device", "cuda", str(out)]
    assert main(words) == 1
    said = capfd.readouterr().err
    lines = [line for line in said.splitlines() if "failed (CUDA failure 719" in line]
    assert len(lines) == 1 and "Traceback" not in said
    with duoview.open(str(out)) as stream:
        packets = [packet for packet in stream.demux() if packet.size]
    decoder = Decoder(strict=True)
    assert 3 <= sum(len(decoder.decode(packet)) for packet in packets) < 50


@pytest.mark.usefixtures("failing")
def test_an_encoder_whose_gpu_was_lost_begins_with_a_key_frame_if_it_comes_back() -> None:
    Lost.left = 10_000
    encoder, frame = Encoder(64, 64, device="cuda", q=30), duoview_frame()
    assert encoder.encode(frame)[0].is_keyframe and not encoder.encode(frame)[0].is_keyframe
    Lost.left = 0
    with pytest.raises(BackendUnavailableError):
        encoder.encode(frame)
    Lost.left = 10_000
    assert encoder.encode(frame)[0].is_keyframe


def duoview_frame() -> Any:
    import av

    return av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")


@pytest.fixture
def swapped(tmp_path: Path) -> Profile:
    """A profile whose encoder is its decoder, with hashes that fit."""
    folder = tmp_path / "swapped"
    shutil.copytree(Profile("s").folder, folder)
    shutil.copyfile(folder / "decoder.onnx", folder / "encoder.onnx")
    manifest = json.loads((folder / "profile.json").read_text())
    manifest["networks"]["encoder"]["sha256"] = hashlib.sha256((folder / "encoder.onnx").read_bytes()).hexdigest()
    (folder / "profile.json").write_text(json.dumps(manifest))
    return Profile(folder)


def test_a_network_file_with_other_inputs_is_named_with_both(swapped: Profile) -> None:
    with pytest.raises(ProfileError, match=r"encoder\.onnx: takes z float .* given picture uint8 \(1, 3, 64, 64\)"):
        Encoder(64, 64, profile=swapped).encode(duoview_frame())
    bound = BoundNetwork(CpuBackend(1).load(swapped.path("encoder")).session, "cpu", 0, swapped.path("encoder"))
    with pytest.raises(ProfileError, match=r"encoder\.onnx: takes z float"):
        bound(picture=np.zeros((1, 3, 64, 64), np.uint8))


def test_a_network_file_that_lacks_an_input_is_named_and_no_gpu_is_blamed(swapped: Profile) -> None:
    z, path = np.zeros((1, 48, 8, 8), np.float32), swapped.path("decoder")
    network = CpuBackend(1).load(path)
    bound, captured = (kind(network.session, "cpu", 0, path) for kind in (BoundNetwork, CapturedNetwork))
    for call in (network, bound, captured):
        with pytest.raises(ProfileError, match=r"decoder\.onnx: takes z float .* and nothing else; .* q int64 \(1,\)"):
            call(z=z, q=np.array([20]))


def test_inputs_of_another_type_or_size_are_named(swapped: Profile) -> None:
    network = CpuBackend(1).load(swapped.path("decoder"))
    for z in (np.zeros((1, 48, 8, 8), np.float64), np.zeros((1, 47, 8, 8), np.float32)):
        with pytest.raises(ProfileError, match=r"takes z float \[\?, 48, \?, \?\]; it is given z"):
            network(z=z)
