"""onnxruntime on a GPU, as far as a machine without one can show: what is missing is named, nothing falls back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from duoview import Encoder
from duoview.backends import CpuBackend, nvidia, onnxruntime_cuda, open_backend
from duoview.backends.onnxruntime_cuda import (
    PROVIDER,
    BoundNetwork,
    CudaBackend,
    check_placement,
    check_providers,
    placement,
    provider_options,
)
from duoview.errors import BackendUnavailableError, ProfileError
from duoview.golden import exact_inputs
from duoview.profile import EXACT, Profile

GPU = nvidia.Driver(1, "a GPU", "")


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = nvidia.driver("libcuda-that-is-not-there.so.1")
    assert (missing.gpus, missing.problem) == (0, "missing (libcuda-that-is-not-there.so.1 cannot be loaded)")
    monkeypatch.setattr(nvidia, "driver", lambda: missing)
    for opened in (lambda: open_backend("cuda"), lambda: Encoder(64, 64, device="cuda")):
        with pytest.raises(BackendUnavailableError, match=r"device 'cuda': NVIDIA driver: missing .*use device 'cpu'"):
            opened()


def test_an_onnxruntime_without_the_provider_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "driver", lambda: GPU)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendUnavailableError, match=r"lacks CUDAExecutionProvider; pip install duoview\[gpu\]"):
        open_backend("cuda")


@pytest.mark.skipif(PROVIDER in onnxruntime.get_available_providers(), reason="this onnxruntime may get the GPU")
def test_a_session_that_got_the_cpu_instead_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_cuda, "unavailable", lambda: "")
    said = r"asked for CUDAExecutionProvider and gives key_hyper\.onnx CPUExecutionProvider"
    with pytest.warns(UserWarning, match=PROVIDER), pytest.raises(BackendUnavailableError, match=said):
        CudaBackend().load(Profile("s").path("key_hyper"))


def test_a_session_that_got_the_gpu_passes() -> None:
    check_providers([PROVIDER, "CPUExecutionProvider"], Path("x.onnx"))
    with pytest.raises(BackendUnavailableError, match=r"gives x\.onnx nothing"):
        check_providers([], Path("x.onnx"))


@pytest.mark.skipif(PROVIDER in onnxruntime.get_available_providers(), reason="this onnxruntime may get the GPU")
@pytest.mark.parametrize("good", [True, False])
def test_an_onnxruntime_that_cannot_tell_who_computes_what_is_named_and_not_the_file(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, good: bool) -> None:
    class Older:
        def __init__(self, path: str, options: onnxruntime.SessionOptions, providers: object) -> None:
            raise RuntimeError("This session contains graph nodes that are assigned to the default CPU EP")

    backend = CpuBackend.load
    session = onnxruntime.InferenceSession

    def load(self: CpuBackend, path: Path) -> object:
        with monkeypatch.context() as patch:
            patch.setattr(onnxruntime, "InferenceSession", session)
            return backend(self, path)

    monkeypatch.setattr(onnxruntime_cuda, "unavailable", lambda: "")
    monkeypatch.setattr(onnxruntime, "InferenceSession", Older)
    monkeypatch.setattr(CpuBackend, "load", load)
    path = Profile("s").path("key_hyper") if good else tmp_path / "no network.onnx"
    if not good:
        path.write_bytes(b"nothing")
    said, error = ((r"cannot tell which operators get the GPU \(it lacks", BackendUnavailableError) if good else
                   (r"no network\.onnx", ProfileError))
    with pytest.raises(error, match=said):
        CudaBackend().load(path)


def recorded(path: Path) -> list[tuple[str, str]]:
    if not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"):
        pytest.skip(f"onnxruntime {onnxruntime.__version__} cannot tell which operators got which provider")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return placement(onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))


def test_single_operators_that_got_the_cpu_are_an_error_that_counts_them() -> None:
    operators = recorded(Profile("s").path("key_hyper"))
    assert {provider for provider, _ in operators} == {"CPUExecutionProvider"} and len(operators) > 20
    with pytest.raises(BackendUnavailableError, match=r"computes 1 Round of x\.onnx on the CPU, 1 of 4 operators"):
        check_placement([(PROVIDER, "Conv"), (PROVIDER, "Mul"), ("CPUExecutionProvider", "Round"), (PROVIDER, "Cast")],
                        Path("x.onnx"))
    with pytest.raises(BackendUnavailableError, match=rf"of {len(operators)} operators"):
        check_placement(operators, Path("x.onnx"))


def test_arithmetic_of_shapes_may_stay_on_the_cpu_where_there_are_shapes() -> None:
    cpu = "CPUExecutionProvider"
    check_placement([(PROVIDER, "Conv"), (cpu, "Shape"), (cpu, "Gather")], Path("x.onnx"))
    with pytest.raises(BackendUnavailableError, match="1 Gather"):
        check_placement([(PROVIDER, "Conv"), (cpu, "Gather")], Path("x.onnx"))
    with pytest.raises(BackendUnavailableError, match="1 Conv"):
        check_placement([(cpu, "Conv"), (cpu, "Shape")], Path("x.onnx"))


def test_memory_is_taken_as_asked_for_and_without_tf32() -> None:
    options = provider_options(1)
    assert options["device_id"] == "1"
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert options["use_tf32"] == "0"


@pytest.mark.parametrize("name", EXACT)
def test_bound_inputs_and_outputs_give_what_plain_calls_give(name: str) -> None:
    profile = Profile("s")
    plain = CpuBackend(1).load(profile.path(name))
    bound = BoundNetwork(plain.session, "cpu", 0)
    for height, width in ((2, 3), (1, 1)):
        inputs = exact_inputs(name, profile.manifest["sizes"], height, width, False)
        assert all(np.array_equal(a, b) for a, b in zip(plain(**inputs), bound(**inputs), strict=True))
    assert bound.signature == plain.signature
