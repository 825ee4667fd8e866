"""Engines from the ONNX file to a decoded stream, with everything but TensorRT itself."""

from __future__ import annotations

import dataclasses
import runpy
import shutil
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import av
import numpy as np
import onnx
import pytest

from duoview import Decoder, Encoder
from duoview.backends import CpuBackend, nvidia
from duoview.backends.engine import EngineIdentity, InputRange, read_header, read_plan
from duoview.backends.engine_cache import EngineCache, default_folder
from duoview.backends.tensorrt_cuda import TensorRtBackend
from duoview.backends.tensorrt_toolkit import Progress
from duoview.errors import BackendUnavailableError, EngineError, EngineFileError, EngineMismatchError
from duoview.export.engine_graph import engine_graph, precision_of
from duoview.export.engines import EngineBuilder, buildable
from duoview.golden import exact_inputs
from duoview.human import HumanView
from duoview.pipelines.command import main
from duoview.profile import EXACT, Profile

SCRIPT = Path(__file__).with_name("engine_toolkit.py")
HUMAN = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("human_profile.py"))))
FAKE = SimpleNamespace(**runpy.run_path(str(SCRIPT)))
CHILD = (sys.executable, str(SCRIPT))
STREAM = ("encoder", "decoder", "key_analysis", "key_hyper", "key_context", "key_synthesis", "inter_analysis",
          "inter_hyper", "inter_context", "inter_synthesis")


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


@pytest.fixture(scope="module")
def cache(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> EngineCache:
    """Engines of all networks of a stream of 128x64 pixels."""
    cache = EngineCache(tmp_path_factory.mktemp("engines"))
    builder = EngineBuilder(cache, FAKE.MACHINE, child=CHILD)
    for name in STREAM:
        builder.build(profile, name, 1, 2)
    return cache


@pytest.fixture
def backend(cache: EngineCache) -> TensorRtBackend:
    return TensorRtBackend(cache=cache, toolkit=FAKE.CpuToolkit())


def frames(count: int = 3, width: int = 120, height: int = 60) -> list[av.VideoFrame]:
    rng = np.random.default_rng(3)
    patch = rng.integers(0, 256, (24, 24, 3), np.uint8)
    made = []
    for number in range(count):
        picture = np.full((height, width, 3), 90, np.uint8)
        picture[10:34, 8 + 5 * number:32 + 5 * number] = patch
        made.append(av.VideoFrame.from_ndarray(picture, format="rgb24"))
    return made


def test_a_stream_of_the_cpu_decodes_through_engines_to_the_same_symbols(backend: TensorRtBackend) -> None:
    encoder = Encoder(120, 60, q=30, gop=8, threads=1)
    packets = [packet for frame in frames() for packet in encoder.encode(frame)]
    decoder = Decoder(device=backend, strict=True)
    assert sum(len(decoder.decode(packet)) for packet in packets) == 3
    assert decoder.symbols_sha256() == encoder.symbols_sha256()


def test_a_stream_encoded_through_engines_decodes_on_the_cpu(backend: TensorRtBackend) -> None:
    encoder = Encoder(120, 60, q=30, gop=8, device=backend)
    packets = [packet for frame in frames() for packet in encoder.encode(frame)]
    decoder = Decoder(threads=1, strict=True)
    assert sum(len(decoder.decode(packet)) for packet in packets) == 3
    assert decoder.symbols_sha256() == encoder.symbols_sha256()


def test_engines_are_opened_once_for_all_streams(cache: EngineCache, profile: Profile) -> None:
    toolkit = FAKE.CpuToolkit()
    backend = TensorRtBackend(cache=cache, toolkit=toolkit)
    inputs = exact_inputs("key_hyper", profile.manifest["sizes"], 1, 2, False)
    for _ in range(3):
        backend.load(profile.path("key_hyper"))(**inputs)
    assert toolkit.opened == 1


def test_an_engine_of_an_exact_network_takes_the_golden_sizes_too(backend: TensorRtBackend, profile: Profile) -> None:
    for name in EXACT:
        profile.load(name, backend)  # its golden vectors have four sizes
        (identity,) = (header.identity for _, header in backend.cache.of_network(
            profile.manifest["networks"][name]["sha256"]))
        assert len(identity.profiles) == 2


def test_a_picture_size_without_an_engine_is_an_error_that_names_the_command(backend: TensorRtBackend,
                                                                              profile: Profile) -> None:
    encoder = backend.load(profile.path("encoder"))
    said = (r"encoder: no engine for picture 1x3x128x128; there are engines for picture 1x3x64x128; "
            r"duoview engines build -size")
    with pytest.raises(EngineError, match=said):
        encoder(picture=np.zeros((1, 3, 128, 128), np.uint8))


def test_inputs_of_another_type_or_name_are_refused_by_name(backend: TensorRtBackend, profile: Profile) -> None:
    encoder = backend.load(profile.path("encoder"))
    with pytest.raises(ValueError, match="input picture is float64, expected uint8"):
        encoder(picture=np.zeros((1, 3, 64, 128)))
    with pytest.raises(ValueError, match="inputs image; expected picture"):
        encoder(image=np.zeros((1, 3, 64, 128), np.uint8))


def test_human_views_are_shown_by_the_engine_of_their_own_decoder(tmp_path: Path) -> None:
    shutil.copytree(Profile("s").folder, tmp_path / "profile")
    rich = HUMAN.add_human_decoder(tmp_path / "profile")
    assert "human_decoder" in buildable(rich)
    cache = EngineCache(tmp_path / "engines")
    builder = EngineBuilder(cache, FAKE.MACHINE, child=CHILD)
    for name in ("denoiser", "human_decoder", "colour"):
        builder.build(rich, name, 1, 2)
    view = HumanView(rich, TensorRtBackend(cache=cache, toolkit=FAKE.CpuToolkit()), steps=1)
    z_m = np.random.default_rng(1).standard_normal((1, 48, 8, 16)).astype(np.float32)
    expected = HumanView(rich, CpuBackend(1), steps=1).picture(z_m, 24)
    assert np.abs(view.picture(z_m, 24).astype(int) - expected).max() <= 1


def test_a_network_without_any_engine_is_an_error_that_names_the_command(backend: TensorRtBackend, profile: Profile
                                                                         ) -> None:
    with pytest.raises(EngineError, match=r"colour: no engine of .*colour\.onnx .*duoview engines build"):
        backend.load(profile.path("colour"))
    with pytest.raises(EngineError, match="engines are made of a profile's networks alone"):
        backend.load(profile.path("saliency"))


@pytest.mark.parametrize(("change", "said"), [
    ({"tensorrt": "10.9.0"}, r"tensorrt 10\.0\.0 \(here 10\.9\.0\)"),
    ({"cuda": 13000}, r"cuda 12040 \(here 13000\)"),
    ({"processors": 14}, r"processors 132 \(here 14\)"),
    ({"device": "another GPU", "capability": "8.0"}, r"device a GPU of the tests \(here another GPU\), cap.* 9\.0"),
])
def test_an_engine_of_another_machine_is_a_mismatch_that_names_both(cache: EngineCache, profile: Profile,
                                                                    change: dict[str, str], said: str) -> None:
    here = dataclasses.replace(FAKE.MACHINE, **change)
    backend = TensorRtBackend(cache=cache, toolkit=FAKE.CpuToolkit(machine=here))
    with pytest.raises(EngineMismatchError, match=said):
        backend.load(profile.path("encoder"))
    with pytest.raises(EngineMismatchError, match=said):
        backend.open(cache.entries()[0].path)


def test_every_part_of_an_identity_changes_the_key() -> None:
    first = EngineIdentity("00", "aa", "fp32", ((InputRange.fixed("z", (1, 2)),),), FAKE.MACHINE, ("no TF32",))
    others = [dataclasses.replace(first, **change) for change in (
        {"network": "01"}, {"graph": "ab"}, {"precision": "fp16"}, {"profiles": ((InputRange.fixed("z", (1, 3)),),)},
        {"machine": dataclasses.replace(FAKE.MACHINE, cuda=1)}, {"flags": ()})]
    assert len({one.key for one in (first, *others)}) == 7


def test_what_is_built_is_built_once(cache: EngineCache, profile: Profile) -> None:
    told: list[tuple[str, Progress]] = []
    builder = EngineBuilder(cache, FAKE.MACHINE, child=("false",), tell=lambda name, what: told.append((name, what)))
    assert builder.build(profile, "encoder", 1, 2).cached
    assert told == []


def test_a_build_tells_of_its_progress_and_keeps_timings(profile: Profile, tmp_path: Path) -> None:
    told: list[str] = []
    cache = EngineCache(tmp_path / "deep" / "engines")
    builder = EngineBuilder(cache, FAKE.MACHINE, child=CHILD, tell=lambda name, what: told.append(
        f"{name} {what.phase} {what.done}/{what.steps}"))
    assert not builder.build(profile, "key_hyper", 1, 1).cached
    assert told == ["key_hyper Building Engine 0/2", "key_hyper Building Engine 2/2", "key_hyper golden inference 0/1"]
    builder.build(profile, "key_context", 1, 1)
    assert cache.timing(FAKE.MACHINE) == b"timed timed "
    assert cache.timing(dataclasses.replace(FAKE.MACHINE, device="other")) == b""


@pytest.mark.parametrize(("wrong", "said"), [
    ("killed", "key_hyper: the process that builds its engine was killed by SIGSEGV"),
    ("refused", "key_hyper: the process .* failed with code 1: TensorRT 10.0.0 cannot read the network"),
    ("off by one", "golden case 0 differs from the integers of the CPU"),
])
def test_a_build_that_fails_is_named_and_leaves_nothing(profile: Profile, tmp_path: Path, wrong: str, said: str,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUOVIEW_TEST_BUILD", wrong)
    cache = EngineCache(tmp_path)
    with pytest.raises(EngineError, match=said):
        EngineBuilder(cache, FAKE.MACHINE, child=CHILD).build(profile, "key_hyper", 1, 1)
    assert [path.name for path in tmp_path.iterdir()] == [".build.lock"]


def test_a_float_network_that_is_off_is_not_used(profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                 ) -> None:
    monkeypatch.setenv("DUOVIEW_TEST_BUILD", "off by one")
    with pytest.raises(EngineError, match=r"output 0 of golden case 0 is off by .* \(at most 1e-02\)"):
        EngineBuilder(EngineCache(tmp_path), FAKE.MACHINE, child=CHILD).build(profile, "encoder", 1, 1)


def test_a_child_on_another_gpu_is_refused(profile: Profile, tmp_path: Path) -> None:
    elsewhere = dataclasses.replace(FAKE.MACHINE, device="another GPU")
    with pytest.raises(EngineError, match=r"this process finds .*the one that started it"):
        EngineBuilder(EngineCache(tmp_path), elsewhere, child=CHILD).build(profile, "key_hyper", 1, 1)


def test_two_builds_do_not_run_at_once(profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUOVIEW_TEST_TIMES", str(tmp_path / "times"))
    cache = EngineCache(tmp_path / "engines")
    waited = []
    builders = [threading.Thread(target=EngineBuilder(cache, FAKE.MACHINE, child=CHILD, waiting=lambda: waited.append(1)
                                                      ).build, args=(profile, "key_hyper", 1, columns))
                for columns in (1, 2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    lines = [line.split() for line in (tmp_path / "times").read_text().splitlines()]
    assert [word for word, _ in lines] == ["begin", "end", "begin", "end"]
    assert waited == [1] and len(cache.entries()) == 2


def copied(cache: EngineCache, folder: Path) -> Path:
    source = cache.entries()[0].path
    path = folder / source.name
    path.write_bytes(source.read_bytes())
    path.chmod(0o600)
    return path


def test_a_foreign_file_is_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "x.engine"
    path.write_bytes(b"ftrt\0\0 some plan of another tool")
    with pytest.raises(EngineFileError, match=r"x\.engine: not an engine of duoview \(it begins with b'ftrt"):
        read_header(path)


def test_a_cut_or_damaged_engine_is_refused_before_tensorrt_sees_it(cache: EngineCache, tmp_path: Path) -> None:
    path = copied(cache, tmp_path)
    data = path.read_bytes()
    toolkit = FAKE.CpuToolkit()
    backend = TensorRtBackend(cache=EngineCache(tmp_path), toolkit=toolkit)
    for broken, said in ((data[:-1], "a plan of"), (data[:-1] + bytes([data[-1] ^ 1]), "another sha256"),
                         (data[:8] + b"\xff\xff\xff\x7f" + data[12:], "a header of"),
                         (data[:30] + b"\0" + data[31:], "damaged header")):
        path.write_bytes(broken)
        with pytest.raises(EngineFileError, match=said):
            backend.open(path)
    assert toolkit.opened == 0


def test_the_header_survives_the_file(cache: EngineCache) -> None:
    path = cache.entries()[0].path
    header, plan = read_plan(path)
    assert header == read_header(path) and header.file_name == path.name and len(plan) == header.plan_bytes


def test_pruning_takes_what_is_for_another_machine_damaged_or_left_over(cache: EngineCache, tmp_path: Path) -> None:
    here = EngineCache(tmp_path)
    kept = copied(cache, tmp_path)
    left = {f".key_hyper-{'0a' * 16}.engine.x1_abcde", ".timing-a_GPU-9.0-10.0.0-12040.cache.abcdefgh"}
    (tmp_path / "a.engine").write_bytes(b"DUOVENG1 and no more")
    for name in left:
        (tmp_path / name).write_bytes(b"broken off")
    pruned = here.prune(lambda one: one.problem)
    assert {path.name for path, _ in pruned.removed} == {"a.engine", *left} and pruned.kept == ()
    assert [one.path for one in here.entries()] == [kept]


@pytest.mark.parametrize("why", ["all are", ""])
def test_pruning_leaves_what_others_put_into_the_folder(tmp_path: Path, why: str) -> None:
    files = {"plan_of_another_tool.engine", "empty.engine", ".config.old.json", ".b.engine.x1", "notes.txt",
             ".key_hyper-00.engine.abcdefgh"}
    for name in files:
        (tmp_path / name).write_bytes(b"ftrt\0\0" if name[0] == "p" else b"")
    (tmp_path / f".key_hyper-{'0a' * 16}.engine.abcdefgh").mkdir()
    (tmp_path / ".git.d").mkdir()
    (tmp_path / "folder.engine").mkdir()
    before = set(tmp_path.iterdir())
    pruned = EngineCache(tmp_path).prune(lambda one: why or one.problem)
    assert pruned.removed == () and {path.name for path, _ in pruned.kept} == {
        "plan_of_another_tool.engine", "empty.engine", "folder.engine"}
    assert set(tmp_path.iterdir()) - {tmp_path / ".build.lock"} == before


def test_pruning_tells_that_it_waits_for_a_build(tmp_path: Path) -> None:
    cache, told = EngineCache(tmp_path), threading.Event()
    with cache.build_lock():
        waiter = threading.Thread(target=cache.prune, args=(lambda one: "", told.set))
        waiter.start()
        assert told.wait(20)
    waiter.join()


@pytest.mark.parametrize("target", ["folder", "file"])
def test_an_engine_that_others_can_write_is_not_read(cache: EngineCache, profile: Profile, tmp_path: Path, target: str
                                                     ) -> None:
    path = copied(cache, tmp_path)
    (tmp_path if target == "folder" else path).chmod(0o777)
    toolkit = FAKE.CpuToolkit()
    with pytest.raises(EngineError, match=r"can be written by others \(mode 777\).*chmod go-w"):
        TensorRtBackend(cache=EngineCache(tmp_path), toolkit=toolkit).open(path)
    assert toolkit.opened == 0


def test_an_engine_of_another_user_is_not_read(cache: EngineCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                               ) -> None:
    path = copied(cache, tmp_path)
    owner, stat = path.stat().st_uid, Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **words: SimpleNamespace(st_uid=owner + 7, st_mode=0o100600)
                        if self == path else stat(self, **words))
    with pytest.raises(EngineError, match=rf"belongs to user {owner + 7}, expected {owner}"):
        EngineCache(tmp_path).read(path)


def test_engine_graphs_give_the_same_numbers_without_int16(profile: Profile) -> None:
    for name in ("key_hyper", "inter_hyper", "inter_context"):
        engine = FAKE.CpuEngine(b'{"off": 0, "profiles": [[]]}\n' + engine_graph(
            onnx.load(str(profile.path(name)))).SerializeToString())
        inputs = exact_inputs(name, profile.manifest["sizes"], 2, 1, True)
        expected = CpuBackend(1).load(profile.path(name))(**inputs)
        found = list(engine.execution()(0, inputs).values())
        assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
        assert found[-1].dtype == np.int32


def test_every_network_of_the_profile_has_an_engine_graph(profile: Profile) -> None:
    assert set(buildable(profile)) == set(profile.manifest["networks"]) - {"saliency", "caption"}
    for name in buildable(profile):
        graph = engine_graph(onnx.load(str(profile.path(name))))
        assert precision_of(graph) == "fp32"


class Untouchable(ModuleType):
    def __getattribute__(self, name: str) -> object:
        return pytest.fail(f"{super().__getattribute__('__name__')}.{name} was used")


def test_without_a_driver_nothing_of_tensorrt_is_touched(monkeypatch: pytest.MonkeyPatch,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(nvidia, "driver", lambda index=0: nvidia.Driver(0, "", "missing (no libcuda)"))
    for name in ("tensorrt", "pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, Untouchable(name))
    with pytest.raises(BackendUnavailableError, match=r"device 'tensorrt': NVIDIA driver: missing .*use device 'cpu'"):
        Encoder(64, 64, device="tensorrt")
    assert main(["engines", "build", "-size", "64x64"]) == 1
    assert "NVIDIA driver: missing (no libcuda)" in capsys.readouterr().err


@pytest.mark.parametrize(("package", "version", "said"), [
    ("tensorrt", None, r"tensorrt cannot be imported \(.*\); pip install duoview\[gpu\]"),
    ("tensorrt", "11.4.0", r"tensorrt 11\.4\.0 is there, expected 10\.x"),
    ("pycuda.driver", None, r"pycuda cannot be imported"),
])
def test_a_missing_or_newer_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str, version: str | None,
                                             said: str) -> None:
    monkeypatch.setattr(nvidia, "driver", lambda index=0: nvidia.Driver(1, "a GPU", "", 12040, (9, 0)))

    for name in ("tensorrt", "pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(__version__="10.3.0"))
    monkeypatch.setitem(sys.modules, package, SimpleNamespace(__version__=version) if version else None)
    with pytest.raises(BackendUnavailableError, match=said):
        TensorRtBackend()


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DUOVIEW_ENGINES", str(tmp_path / "a"))
    assert default_folder() == tmp_path / "a"
    monkeypatch.delenv("DUOVIEW_ENGINES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "duoview" / "engines"


def test_a_cast_is_read_by_the_name_of_its_attribute(profile: Profile) -> None:
    model = onnx.load(str(profile.path("key_hyper")))
    model.opset_import[0].version, model.ir_version = 19, max(9, model.ir_version)  # `saturate` came with 19
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    for cast in casts:
        to = cast.attribute.pop()
        cast.attribute.extend([onnx.helper.make_attribute("saturate", 1), to])
    kinds = {value.type.tensor_type.elem_type for value in engine_graph(model).graph.output}
    assert casts and onnx.TensorProto.INT16 not in kinds and precision_of(model) == "fp32"
