"""bench.device_codec: sections that a device makes are sections, and it decodes them to the state of the encoder."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from duoview import Profile
from duoview.backends import CpuBackend
from duoview.errors import BitstreamError
from duoview.kernels.cuda import Device
from duoview.machine import MachineLayer

ACCURACY = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parent.parent / "accuracy_bench.py")))
BENCH: Any = ACCURACY.module("bench.device_codec")
LIMITS: Any = ACCURACY.module("bench.limits")
STAGES: Any = ACCURACY.module("bench.device_stages")


def test_sections_of_the_device_decode_there_and_on_the_cpu() -> None:
    profile, kernels = Profile("s"), Device.on_cpu()
    networks = BENCH.DeviceNetworks(profile, "cpu")
    encoder, decoder = (BENCH.DeviceCodec(networks, kernels, 128, 64, 30) for _ in range(2))
    layer = MachineLayer(profile, CpuBackend(1), encode=False)
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 128), dtype=np.uint8)
    for number in range(3):
        section = encoder.encode(torch.from_numpy(np.roll(picture, 3 * number, 3).copy()), key=number == 0)
        view = decoder.decode(section, key=number == 0)
        assert view.shape == (1, 3, 64, 128) and torch.equal(encoder.z_m, decoder.z_m)
        z_m = layer.decode(section, key=number == 0, q=30, width=128, height=64)
        assert np.abs(z_m - decoder.z_m.numpy()).max() < 0.1


def test_a_section_with_motion_is_refused_where_nothing_can_be_moved() -> None:
    profile = Profile("s")
    if not profile.has_motion:
        pytest.skip("the bundled profile has no shift operators")
    layer = MachineLayer(profile, CpuBackend(1), encode=True)
    decoder = BENCH.DeviceCodec(BENCH.DeviceNetworks(profile, "cpu"), Device.on_cpu(), 128, 64, 30)
    picture = np.random.default_rng(1).integers(0, 256, (1, 3, 8, 16), dtype=np.uint8).repeat(8, 2).repeat(8, 3)
    sections = [layer.encode(np.ascontiguousarray(np.roll(picture, 6 * number, 3)), key=number == 0, q=30)
                for number in range(2)]
    assert layer.field.moving.any()
    decoder.decode(sections[0], key=True)
    with pytest.raises(BitstreamError, match="motion in a P frame: expected one in which nothing moves"):
        decoder.decode(sections[1], key=False)


def test_limits_name_what_holds_an_operator_back() -> None:
    floors = LIMITS.Floors(1e12, 1e11)
    kinds = [LIMITS._operator("Conv 1x1", 1, taken, macs, moved, floors).limit for taken, macs, moved in (
        (1e-3, 5e8, 1e6), (1e-3, 1e6, 5e7), (3e-6, 1e3, 1e3))]
    assert kinds == ["arithmetic", "memory", "launches"]
    assert LIMITS._operator("Conv 1x1", 1, 1e-3, 5e8, 1e6, floors).of_floor == 0.5


def test_stages_of_a_frame_add_up_and_name_the_one_that_limits_it() -> None:
    profile, kernels = Profile("s"), Device.on_cpu()
    networks = BENCH.DeviceNetworks(profile, "cpu")
    random = np.random.default_rng(0)
    pictures = [torch.from_numpy(random.integers(0, 256, (1, 3, 64, 64), dtype=np.uint8)) for _ in range(2)]
    found = STAGES.stages(networks, kernels, pictures, LIMITS.Floors(1e12, 1e11), frames=2, q=30)
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
    assert rows["rANS decode"]["calls"] == 3 and rows["inter_context"]["launches"] > 5


def test_multiply_adds_of_a_network_grow_with_the_picture() -> None:
    network = BENCH.DeviceNetworks(Profile("s"), "cpu").of["encoder"]
    small, large = (LIMITS.macs_of_network(network, {"picture": torch.zeros((1, 3, side, side), dtype=torch.uint8)})
                    for side in (64, 128))
    assert large == pytest.approx(4 * small, rel=0.01)
    assert 1000 < small / 64**2 < 10_000  # kMAC a pixel, as the design bounds it
