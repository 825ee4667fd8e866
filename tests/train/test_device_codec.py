"""Pictures on a device by torch: units that every decoder reads; and what holds an operator back."""

from __future__ import annotations

import runpy
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch

from duoview import BackendUnavailableError, Decoder
from duoview.device import DeviceDecoder, DeviceEncoder, DeviceNetworks
from duoview.export import torch_device
from duoview.export.torch_backend import TorchNetwork
from duoview.export.torch_device import TorchDeviceNetworks
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import CudaDriver

ACCURACY = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parent.parent / "accuracy_bench.py")))
LIMITS: Any = ACCURACY.module("bench.limits")
STAGES: Any = ACCURACY.module("bench.device_stages")


@pytest.fixture(scope="module")
def networks() -> TorchDeviceNetworks:
    return TorchDeviceNetworks("s", "cpu")


def test_units_by_torch_decode_there_and_elsewhere_to_the_same_symbols(networks: TorchDeviceNetworks) -> None:
    encoder, decoder = DeviceEncoder(networks, 120, 64, q=30, digest=True), DeviceDecoder(networks, digest=True)
    bound, host = DeviceDecoder(DeviceNetworks("s", "cpu", threads=1), digest=True), Decoder(threads=1, strict=True)
    picture = np.random.default_rng(0).integers(0, 256, (3, 8, 15), np.uint8).repeat(8, 1).repeat(8, 2)
    for number in range(3):
        packet = encoder.encode(np.ascontiguousarray(np.roll(picture, 3 * number, 2)))
        (one,), (other,), (frame,) = decoder.decode(packet), bound.decode(packet), host.decode(packet)
        assert one.array.shape == (1, 3, 64, 128)
        shown = frame.to_ndarray(format="rgb24").transpose(2, 0, 1).astype(int)
        for view in (one, other):
            # float networks of two libraries: the pictures differ by rounding
            assert np.abs(view.array[0, :, :64, :120] - shown).max() <= 2
    assert encoder.symbols_sha256() == decoder.symbols_sha256() == bound.symbols_sha256() == host.symbols_sha256()


@pytest.mark.parametrize("options", [{"view": "texture"}, {"view": "texture", "texture": 2, "fill": "sample"},
                                     {"view": "human", "steps": 2}])
def test_views_by_torch_are_those_of_the_host(networks: TorchDeviceNetworks, options: dict[str, Any]) -> None:
    encoder = DeviceEncoder(networks, 120, 64, q=30, texture=6)
    device, host = DeviceDecoder(networks, strict=True, **options), Decoder(threads=1, strict=True, **options)
    picture = np.random.default_rng(0).integers(0, 256, (3, 8, 15), np.uint8).repeat(8, 1).repeat(8, 2)
    for number in range(2):
        packet = encoder.encode(np.ascontiguousarray(np.roll(picture, 3 * number, 2)))
        (one,), (other,) = device.decode(packet), host.decode(packet)
        apart = np.abs(one.array[0, :, :64, :120] - other.to_ndarray(format="rgb24").transpose(2, 0, 1).astype(int))
        assert apart.max() <= 3 and apart.mean() < 0.2
    layers: Any = device._views._texture, host._texture
    if layers[0] is not None:
        nodes = [[state.nodes.tolist() for state in layer.states] for layer in layers]
        assert nodes[0] == nodes[1] and np.any(nodes[0][0])


def test_a_failure_of_torch_is_one_line_and_the_next_frame_a_key_frame(
        networks: TorchDeviceNetworks, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, picture = DeviceEncoder(networks, 64, 64), np.zeros((3, 64, 64), np.uint8)
    encoder.encode(picture)
    network: Any = networks["inter_synthesis"]

    def fail(**inputs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\n Tried to allocate")

    with monkeypatch.context() as patch:
        patch.setattr(network.network, "tensors", fail)
        with pytest.raises(BackendUnavailableError, match=r"torch failed \(CUDA out of memory. Tried to allocate"):
            encoder.encode(picture)
    assert encoder.encode(picture).is_keyframe


def test_limits_name_what_holds_an_operator_back() -> None:
    floors = LIMITS.Floors(1e12, 1e11)
    kinds = [LIMITS._operator("Conv 1x1", 1, taken, macs, moved, floors).limit for taken, macs, moved in (
        (1e-3, 5e8, 1e6), (1e-3, 1e6, 5e7), (3e-6, 1e3, 1e3))]
    assert kinds == ["arithmetic", "memory", "launches"]
    assert LIMITS._operator("Conv 1x1", 1, 1e-3, 5e8, 1e6, floors).of_floor == 0.5


def test_stages_of_a_frame_add_up_and_name_the_one_that_limits_it(networks: TorchDeviceNetworks) -> None:
    random = np.random.default_rng(0)
    pictures = [torch.from_numpy(random.integers(0, 256, (1, 3, 64, 64), dtype=np.uint8)) for _ in range(2)]
    found = STAGES.stages(networks, pictures, LIMITS.Floors(1e12, 1e11), frames=2, q=30)
    assert found["good"]
    for way, only, absent in (("encode", "inter_analysis", "decoder"), ("decode", "decoder", "inter_analysis")):
        rows = {row["name"]: row for row in found[way]["stages"]}
        assert only in rows and absent not in rows and not any(name.startswith("key_") for name in rows)
        assert found[way]["limiting"]["milliseconds"] == max(row["milliseconds"] for row in rows.values())
        assert found[way]["frame_ms"] == pytest.approx(
            found[way]["rest_ms"] + sum(row["milliseconds"] for row in rows.values()))
        assert rows["inter_context"]["arithmetic_ms"] > 0
        assert all(row["memory_ms"] > 0 for name, row in rows.items() if not name.endswith("finish"))
        assert rows["coding order"]["arithmetic_ms"] == 0
    assert rows["rANS decode"]["calls"] == 3 + networks.profile.has_motion and rows["inter_context"]["launches"] > 5


def test_what_a_network_is_made_of_is_known_of_those_by_torch_alone() -> None:
    with pytest.raises(TypeError, match="network is a DeviceNetwork; expected one of TorchDeviceNetworks"):
        LIMITS.graph_of(DeviceNetworks("s", "cpu", threads=1)["encoder"])


def test_multiply_adds_of_a_network_grow_with_the_picture(networks: TorchDeviceNetworks) -> None:
    network = LIMITS.graph_of(networks["encoder"])
    small, large = (LIMITS.macs_of_network(network, {"picture": torch.zeros((1, 3, side, side), dtype=torch.uint8)})
                    for side in (64, 128))
    assert large == pytest.approx(4 * small, rel=0.01)
    assert 1000 < small / 64**2 < 10_000  # kMAC a pixel, as the design bounds it


def test_frames_of_a_hardware_decoder_go_back_to_it_while_others_are_coded(networks: TorchDeviceNetworks) -> None:
    encoder = DeviceEncoder(networks, 64, 64, pixel_format="nv12")
    memory = []
    for number in range(4):
        luma, chroma = np.full((64, 64), 40 * number, np.uint8), np.full((32, 32, 2), 128, np.uint8)
        memory.append(weakref.ref(luma))
        frame = av.VideoFrame.from_dlpack((luma, chroma), format="nv12")
        del luma, chroma
        encoder.encode(frame)
        del frame
    assert [one() is None for one in memory] == [True, True, True, False]


def test_networks_of_torch_are_of_the_gpu_that_their_kernels_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Second(CudaDriver):
        """That of a machine with two GPUs."""

        def __init__(self) -> None:
            self.ordinal = 1

        def upload(self, data: bytes) -> int:
            return 0

    monkeypatch.setattr(torch_device, "TorchBackend", lambda device: SimpleNamespace(device=torch.device(device)))
    assert TorchDeviceNetworks("s", "cuda:1", kernels=Device.on(Second())).index == 1


def test_weights_are_there_before_a_fork_has_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-precision weights become float32 on the default stream, for which the stream of a fork does not wait."""
    networks, done = TorchDeviceNetworks("s", "cpu"), []
    load = networks.backend.load

    class Default:
        def synchronize(self) -> None:
            done.append("waited")

    def loaded(path: Path) -> Any:
        done.append("loaded")
        return load(path)

    monkeypatch.setattr(networks.backend, "load", loaded)
    monkeypatch.setattr(networks.backend, "device", torch.device("cuda:0"))
    monkeypatch.setattr(TorchNetwork, "__init__", _on_the_host(TorchNetwork.__init__))
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: Default())
    networks["decoder"]
    assert done == ["loaded", "waited"]


def _on_the_host(make: Any) -> Any:
    def made(self: TorchNetwork, path: Path, device: torch.device, **options: Any) -> None:
        make(self, path, torch.device("cpu"), **options)

    return made
