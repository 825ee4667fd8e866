"""CUDA graphs and TensorRT through onnxruntime, up to the first call into a GPU's library, taken by a stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from duoview import Profile
from duoview.backends import CpuBackend, cuda_graph, nvidia, onnxruntime_cuda, onnxruntime_tensorrt
from duoview.backends.cuda_graph import GRAPH_NUMBER, MOST_SHAPES, CapturedNetwork, run_options
from duoview.backends.onnxruntime_cuda import PROVIDER, BoundNetwork, CudaBackend
from duoview.backends.onnxruntime_tensorrt import (
    EXACT,
    TENSORRT_PROVIDER,
    OnnxRuntimeTensorRtBackend,
    missing_libraries,
)
from duoview.errors import BackendUnavailableError, EngineError, ProfileError
from duoview.golden import GOLDEN_CASES, exact_inputs
from duoview.profile import EXACT as EXACT_OF_PROFILE
from duoview.profile import TEXTURE

SESSION = onnxruntime.InferenceSession


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


class Recorder:
    """Stands in for onnxruntime.InferenceSession: takes down what is asked for, and gives a session on the CPU."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[tuple[str, dict[str, str]]]]] = []
        self.elsewhere: tuple[str, ...] = ()

    def __call__(self, path: str, options: onnxruntime.SessionOptions, providers: Any) -> Any:
        if providers == ["CPUExecutionProvider"]:
            return SESSION(path, options, providers=providers)
        self.asked.append((Path(path).stem, providers))
        recorder, inner = self, SESSION(path, options, providers=["CPUExecutionProvider"])

        class Session:
            def get_providers(self) -> list[str]:
                return [name for name, _ in providers if name not in recorder.elsewhere] + ["CPUExecutionProvider"]

            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

        return Session()

    @staticmethod
    def get_provider_graph_assignment_info() -> None:
        """onnxruntime's own has it, which is asked for."""


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(onnxruntime_cuda, "unavailable", lambda: "")
    monkeypatch.setattr(onnxruntime, "InferenceSession", made)
    monkeypatch.setattr(onnxruntime_cuda, "placement", lambda _: [(PROVIDER, "Conv")])
    return made


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT_PROVIDER, PROVIDER])
    monkeypatch.setattr(onnxruntime_tensorrt, "missing_libraries", list)


def test_graphs_are_asked_for_in_the_options_and_only_then(profile: Profile, recorder: Recorder) -> None:
    path = profile.path("key_hyper")
    assert isinstance(CudaBackend().load(path), BoundNetwork)
    assert isinstance(CudaBackend(1, graphs=True).load(path), CapturedNetwork)
    plain, captured = (providers[0][1] for _, providers in recorder.asked)
    assert "enable_cuda_graph" not in plain
    assert captured == plain | {"enable_cuda_graph": "1", "device_id": "1"}


def test_a_network_that_cannot_be_captured_is_named_with_what_to_do(profile: Profile, monkeypatch: pytest.MonkeyPatch,
                                                                    recorder: Recorder, tmp_path: Path) -> None:
    def refusing(path: str, options: onnxruntime.SessionOptions, providers: Any) -> Any:
        if providers == ["CPUExecutionProvider"]:
            return SESSION(path, options, providers=providers)
        raise RuntimeError("This session cannot use the graph capture feature")

    refusing.get_provider_graph_assignment_info = None  # type: ignore[attr-defined]
    monkeypatch.setattr(onnxruntime, "InferenceSession", refusing)
    with pytest.raises(BackendUnavailableError, match=r"cannot capture key_hyper\.onnx .*CudaBackend\(graphs=F"):
        CudaBackend(graphs=True).load(profile.path("key_hyper"))
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    with pytest.raises(ProfileError, match=r"no\.onnx"):
        CudaBackend(graphs=True).load(tmp_path / "no.onnx")


@pytest.mark.parametrize("name", EXACT_OF_PROFILE)
def test_buffers_that_stay_give_what_plain_calls_give(profile: Profile, name: str) -> None:
    plain = CpuBackend(1).load(profile.path(name))
    captured = CapturedNetwork(plain.session, "cpu", 0)
    before = None
    for seed, (height, width) in enumerate([(2, 3), (1, 1), (2, 3), (1, 1), (2, 3)]):
        inputs = exact_inputs(name, profile.manifest["sizes"], height, width, False, seed=seed)
        found = captured(**inputs)
        assert all(np.array_equal(a, b) for a, b in zip(plain(**inputs), found, strict=True))
        if before is not None:
            kept, copies = before
            assert all(np.array_equal(a, b) for a, b in zip(kept, copies, strict=True))
        before = found, [np.array(output) for output in found]
    assert captured.signature == plain.signature


def test_every_combination_of_shapes_has_a_graph_of_its_own_up_to_a_limit(
        profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []

    def noted(graph: int) -> onnxruntime.RunOptions:
        numbers.append(graph)
        return run_options(graph)

    monkeypatch.setattr(cuda_graph, "run_options", noted)
    network = CapturedNetwork(CpuBackend(1).load(profile.path("key_hyper")).session, "cpu", 0)
    for width in (*range(1, MOST_SHAPES + 2), 1, 2):
        network(**exact_inputs("key_hyper", profile.manifest["sizes"], 1, width, False))
    assert numbers == [number for graph in range(MOST_SHAPES) for number in (-1, graph)] + [-1]
    assert run_options(7).get_run_config_entry(GRAPH_NUMBER) == "7"


def test_golden_vectors_leave_graphs_for_pictures(profile: Profile) -> None:
    class OnCpu:
        name = "cuda"

        def load(self, path: Path) -> CapturedNetwork:
            return CapturedNetwork(CpuBackend(1).load(path).session, "cpu", 0, path)

    network: Any = profile.load("key_hyper", OnCpu())
    taken = len(network._captures)
    assert taken == len(GOLDEN_CASES)
    network(**exact_inputs("key_hyper", profile.manifest["sizes"], 5, 7, False))
    assert len(network._captures) == taken + 1


def test_the_exact_networks_that_stay_out_of_tensorrt_are_those_of_profiles() -> None:
    assert frozenset((*EXACT_OF_PROFILE, *TEXTURE)) == EXACT


def test_float_networks_go_to_tensorrt_and_exact_ones_to_cuda(profile: Profile, recorder: Recorder, tensorrt: None,
                                                              tmp_path: Path) -> None:
    backend = OnnxRuntimeTensorRtBackend(folder=tmp_path / "engines")
    for name in ("decoder", "inter_hyper"):
        backend.load(profile.path(name))
    (_, of_float), (_, of_exact) = recorder.asked
    assert [name for name, _ in of_float] == [TENSORRT_PROVIDER, PROVIDER]
    assert [name for name, _ in of_exact] == [PROVIDER]
    options = dict(of_float)[TENSORRT_PROVIDER]
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == str(tmp_path / "engines")
    assert options["trt_fp16_enable"] == "0" and options["trt_engine_cache_enable"] == "1"
    assert (tmp_path / "engines").stat().st_mode & 0o77 == 0


def test_float16_is_only_allowed_where_it_was_asked_for(recorder: Recorder, tensorrt: None, tmp_path: Path) -> None:
    (_, options), _ = OnnxRuntimeTensorRtBackend(2, folder=tmp_path / "e", half=True).providers(Path("decoder.onnx"))
    assert options["trt_fp16_enable"] == "1" and options["device_id"] == "2"


def test_a_session_without_tensorrt_is_an_error(profile: Profile, recorder: Recorder, tensorrt: None, tmp_path: Path
                                                ) -> None:
    recorder.elsewhere = (TENSORRT_PROVIDER,)
    backend = OnnxRuntimeTensorRtBackend(folder=tmp_path / "engines")
    with pytest.raises(BackendUnavailableError, match=r"asked for TensorrtExecutionProvider and gives decoder\.onnx"):
        backend.load(profile.path("decoder"))


def test_an_operator_on_the_cpu_is_an_error_beside_tensorrt_too(
        profile: Profile, recorder: Recorder, tensorrt: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = OnnxRuntimeTensorRtBackend(folder=tmp_path / "engines")
    found = [(TENSORRT_PROVIDER, "Conv"), (PROVIDER, "SpaceToDepth")]
    monkeypatch.setattr(onnxruntime_cuda, "placement", lambda _: found)
    backend.load(profile.path("decoder"))
    found.append(("CPUExecutionProvider", "Clip"))
    with pytest.raises(BackendUnavailableError, match=r"computes 1 Clip of decoder\.onnx on the CPU"):
        backend.load(profile.path("decoder"))


def test_what_tensorrt_through_onnxruntime_lacks_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nvidia, "driver", lambda: nvidia.Driver(0, "", "missing"))
    with pytest.raises(BackendUnavailableError, match="NVIDIA driver: missing"):
        OnnxRuntimeTensorRtBackend(folder=tmp_path)
    monkeypatch.setattr(onnxruntime_cuda, "unavailable", lambda: "")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDER])
    with pytest.raises(BackendUnavailableError, match="lacks TensorrtExecutionProvider; pip install"):
        OnnxRuntimeTensorRtBackend(folder=tmp_path)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT_PROVIDER, PROVIDER])
    monkeypatch.setattr(onnxruntime_tensorrt, "missing_libraries", lambda: missing_libraries(("libnone.so.1",)))
    with pytest.raises(BackendUnavailableError, match=r"libnone\.so\.1 cannot be opened"):
        OnnxRuntimeTensorRtBackend(folder=tmp_path)


def test_a_folder_that_others_may_write_is_refused(recorder: Recorder, tensorrt: None, tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(EngineError, match="can be written by others"):
        OnnxRuntimeTensorRtBackend(folder=folder)
