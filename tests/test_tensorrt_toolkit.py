"""The code around TensorRT, run against stand-ins that have the names of its bindings and no others."""

from __future__ import annotations

import gc
import importlib.metadata
import re
import runpy
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from duoview.backends import CpuBackend, nvidia
from duoview.backends.engine import EngineHeader, EngineIdentity, EngineMachine
from duoview.backends.engine_shapes import golden, profiles
from duoview.backends.tensorrt_cuda import as_declared, check_engine
from duoview.backends.tensorrt_toolkit import Progress, TensorRt, unavailable
from duoview.errors import EngineError
from duoview.export.engine_graph import engine_graph
from duoview.golden import exact_inputs
from duoview.profile import Profile

NAMES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("tensorrt_names.py"))))
PROFILE = Profile("s")


@pytest.fixture
def toolkit(monkeypatch: pytest.MonkeyPatch) -> Iterator[TensorRt]:
    monkeypatch.setattr(nvidia, "driver", lambda index=0: nvidia.Driver(1, "a GPU", "", 12040, (9, 0), 132))
    monkeypatch.setitem(sys.modules, "tensorrt", NAMES)
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=NAMES))
    monkeypatch.setitem(sys.modules, "pycuda.driver", NAMES)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["tensorrt_cu12==10.16.1.11"])
    NAMES.state.fail, NAMES.state.device, NAMES.state.leaked = "", {}, []
    yield TensorRt()
    assert NAMES.state.stack.current == 0, "a context is left current"
    gc.collect()
    assert NAMES.state.leaked == [], "freed without the context"


def model() -> bytes:
    return engine_graph(onnx.load(str(PROFILE.path("key_hyper")))).SerializeToString()


def built(toolkit: TensorRt, told: list[Progress], timing: bytes = b"old ") -> bytes:
    signature = CpuBackend(1).load(PROFILE.path("key_hyper")).signature
    made = toolkit.build(model(), profiles("key_hyper", signature, 1, 2, exact=True), timing, 2, told.append)
    assert made.timing == (timing + b"more" if timing == b"old " else b"more")
    return made.plan


def test_the_machine_is_described(toolkit: TensorRt) -> None:
    one = toolkit.machine
    assert one == EngineMachine("10.16.1.11", 12040, "a GPU", "9.0", 132)


def test_a_plan_is_built_strongly_typed_without_tf32_for_both_ranges(toolkit: TensorRt) -> None:
    told: list[Progress] = []
    assert built(toolkit, told) == model()
    config = NAMES.state.config
    assert config._flags == set() and config.builder_optimization_level == 2
    fixed, free = (profile.shapes["hyper"] for profile in config._profiles)
    assert fixed == ((1, 32, 1, 2),) * 3 and free == ((1, 32, 1, 1), (1, 32, 2, 3), (1, 32, 6, 10))
    assert told[0] == Progress("Building", "", 0, 2) and Progress("Timing", "Building", 1, 1) in told
    assert told[-1] == Progress("Building", "", 2, 2)


@pytest.mark.parametrize("timing", [b"of another GPU", b"damaged"])
def test_timings_that_cannot_be_used_are_begun_anew(toolkit: TensorRt, timing: bytes) -> None:
    built(toolkit, [], timing)


def test_an_engine_gives_the_integers_of_the_network_in_both_profiles_and_growing_sizes(toolkit: TensorRt) -> None:
    execution = toolkit.open(model()).execution()
    network = CpuBackend(1).load(PROFILE.path("key_hyper"))
    declared = [(spec.name, spec.dtype) for spec in network.signature.outputs]
    for profile, height, width in ((0, 1, 2), (1, 2, 3), (1, 1, 1), (0, 1, 2)):
        inputs = exact_inputs("key_hyper", PROFILE.manifest["sizes"], height, width, True)
        found = as_declared(execution(profile, inputs), declared, "key_hyper")
        for expected, got in zip(network(**inputs), found, strict=True):
            assert np.array_equal(expected, got) and expected.dtype == got.dtype


@pytest.mark.parametrize(("fail", "said"), [
    ("parse", r"TensorRT 10\.16\.1\.11 cannot read the network: Conv conv\.3: it is not a network"),
    ("profile", "does not take the shapes hyper 1x32x1x2, q 1: it logged nothing"),
    ("build", "built no engine: no memory$"),
    ("builder", r"gives no Builder \(.*returned nullptr; is the driver too old for it\?\)"),
])
def test_a_build_that_fails_says_why(toolkit: TensorRt, fail: str, said: str) -> None:
    NAMES.state.fail = fail
    with pytest.raises(EngineError, match=said):
        built(toolkit, [])


@pytest.mark.parametrize(("fail", "said"), [
    ("open", "cannot read this engine"),
    ("runtime", r"gives no Runtime \(.*returned nullptr; is the driver too old for it\?\)"),
    ("host", "wants hyper in the host's memory"),
    ("unknown shape", r"does not say the shape of .* \(\(-1, "),
    ("context", "gives no execution context"),
    ("switch", "does not switch to shapes 1"),
    ("shape", r"does not take hyper of shape \(1, 32, 2, 3\)"),
    ("address", "does not take memory for hyper"),
    ("infer", "lacks shapes of q"),
    ("run", "did not run"),
    ("lost", "LogicError of the CUDA driver: cuStreamSynchronize failed: an illegal memory access"),
])
def test_a_call_that_fails_says_what_did(toolkit: TensorRt, fail: str, said: str) -> None:
    NAMES.state.fail = fail
    inputs = exact_inputs("key_hyper", PROFILE.manifest["sizes"], 2, 3, False)
    with pytest.raises(EngineError, match=said):
        toolkit.open(model()).execution()(1, inputs)


def test_two_executions_of_an_engine_give_the_same(toolkit: TensorRt) -> None:
    engine = toolkit.open(model())
    inputs = exact_inputs("key_hyper", PROFILE.manifest["sizes"], 1, 2, False)
    first, second = (engine.execution()(0, inputs) for _ in range(2))
    assert first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_memory_of_smaller_shapes_is_freed_when_larger_ones_come(toolkit: TensorRt) -> None:
    execution = toolkit.open(model()).execution()
    for height, width in ((1, 1), (2, 3), (1, 2)):
        execution(1, exact_inputs("key_hyper", PROFILE.manifest["sizes"], height, width, False))
    assert len(NAMES.state.device) == 5  # two inputs, three outputs
    execution.close()
    assert NAMES.state.device == {}


def test_what_another_thread_drops_is_freed_there_with_the_context(toolkit: TensorRt) -> None:
    held = [toolkit.open(model())]
    held.append(held[0].execution())  # type: ignore[arg-type]
    held[1](0, exact_inputs("key_hyper", PROFILE.manifest["sizes"], 1, 2, False))  # type: ignore[operator]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert NAMES.state.leaked == [] and NAMES.state.device == {}


def test_an_error_that_is_kept_keeps_nothing_of_the_device(toolkit: TensorRt) -> None:
    NAMES.state.fail = "run"
    execution = toolkit.open(model()).execution()
    with pytest.raises(EngineError) as kept:
        execution(0, exact_inputs("key_hyper", PROFILE.manifest["sizes"], 1, 2, False))
    execution.close()
    assert NAMES.state.device == {} and NAMES.state.leaked == []
    del execution, kept
    gc.collect()
    assert NAMES.state.leaked == []


def test_golden_inference_frees_what_it_took(toolkit: TensorRt) -> None:
    network = CpuBackend(1).load(PROFILE.path("key_hyper"))
    expected = golden("key_hyper", network, 1, 2, exact=True, sizes=tuple(PROFILE.manifest["sizes"].items()))
    identity = EngineIdentity("", "", "fp32", (), toolkit.machine, ())
    engine = toolkit.open(model())
    check_engine(engine, EngineHeader(identity, expected, 1, "", 0.0, ""), "x.engine")
    assert NAMES.state.device == {}


def test_an_error_tells_nothing_that_was_logged_before(toolkit: TensorRt) -> None:
    NAMES.state.log.log(NAMES.Severity.ERROR, "of another call")
    NAMES.state.fail = "open"
    with pytest.raises(EngineError, match="cannot read this engine: it logged nothing"):
        toolkit.open(model())


@pytest.mark.parametrize(("wanted", "version", "said"), [
    (["tensorrt_cu13==10.16"], 12080, r"it supports CUDA up to 12\.8, and this tensorrt needs CUDA 13"),
    (["tensorrt-cu12==10.3"], 11080, r"needs CUDA 12"), ([], 10020, r"needs CUDA 11"),
    (["tensorrt_cu12==10.16"], 13000, ""),
])
def test_a_driver_that_is_too_old_for_tensorrt_is_named(toolkit: TensorRt, monkeypatch: pytest.MonkeyPatch,
                                                        wanted: list[str], version: int, said: str) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    monkeypatch.setattr(nvidia, "driver", lambda index=0: nvidia.Driver(1, "a GPU", "", version, (9, 0), 132))
    assert re.search(said, unavailable()) if said else unavailable() == ""


def test_the_driver_is_asked_for_name_version_and_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def __getattr__(self, name: str) -> object:
            def call(*arguments: object) -> int:
                values = {"cuDeviceGetCount": 2, "cuDriverGetVersion": 12040, "cuDeviceGet": 1}
                if name in values:
                    arguments[0]._obj.value = values[name]  # type: ignore[attr-defined]
                if name == "cuDeviceGetName":
                    arguments[0].value = b"a GPU"  # type: ignore[attr-defined]
                if name == "cuDeviceGetAttribute":
                    arguments[0]._obj.value = {75: 9, 76: 0, 16: 132}[arguments[1]]  # type: ignore[attr-defined, index]
                return 0
            return call

    monkeypatch.setattr(nvidia.ctypes, "CDLL", lambda name: Library())
    assert nvidia.driver(index=1) == nvidia.Driver(2, "a GPU", "", 12040, (9, 0), 132)
    assert "there is no GPU 2; it has 2" in nvidia.driver(index=2).problem
