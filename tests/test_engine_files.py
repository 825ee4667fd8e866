"""Engine files that are damaged, old or misnamed, and the process that builds them, without TensorRT."""

from __future__ import annotations

import dataclasses
import json
import os
import runpy
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from duoview.backends.engine import MAGIC, read_header, read_plan, written
from duoview.backends.engine_cache import EngineCache
from duoview.backends.tensorrt_cuda import TensorRtBackend
from duoview.backends.tensorrt_toolkit import Progress
from duoview.errors import EngineError, EngineFileError
from duoview.export import engine_child, engines
from duoview.export.engines import CHILD, EngineBuilder
from duoview.golden import exact_inputs
from duoview.profile import Profile

SCRIPT = Path(__file__).with_name("engine_toolkit.py")
FAKE = SimpleNamespace(**runpy.run_path(str(SCRIPT)))
BUILD = (sys.executable, str(SCRIPT))
PROFILE = Profile("s")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An engine of an exact network and one of a float network, for 64x64 pixels."""
    builder = EngineBuilder(EngineCache(tmp_path_factory.mktemp("engines")), FAKE.MACHINE, child=BUILD)
    return {name: builder.build(PROFILE, name, 1, 1).path for name in ("key_hyper", "encoder")}


def changed(source: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of an engine with another header."""
    header, plan = read_plan(source)
    fields = json.loads(json.dumps(dataclasses.asdict(header)))
    change(fields)
    text = json.dumps(fields).encode()
    target.write_bytes(MAGIC + struct.pack("<I", len(text)) + text + plan)
    target.chmod(0o600)
    return target


DAMAGES: dict[str, tuple[str, Callable[[dict[str, Any]], Any], str]] = {
    "one case less": ("key_hyper", lambda h: h["golden"]["cases"].pop(), "1 golden cases"),
    "one output less": ("key_hyper", lambda h: h["golden"]["cases"][0].pop(), "a golden case of 2 outputs"),
    "no digest": ("key_hyper", lambda h: h["golden"]["cases"][0][0].update(sha256=""), "without the digest"),
    "samples cut": ("encoder", lambda h: h["golden"]["cases"][0][0].update(samples="AAAA"), "3 bytes of samples"),
    "samples that are not base64": ("encoder", lambda h: h["golden"]["cases"][0][0].update(samples="~~~~"), "base64"),
    "another precision": ("encoder", lambda h: h["identity"].update(precision="fp8"), "precision fp8"),
    "an older machine": ("encoder", lambda h: h["identity"]["machine"].pop("cuda"), "of another version of duoview"),
    "no shapes": ("encoder", lambda h: h["identity"].update(profiles=[]), "shapes that no input has"),
    "shapes of two lengths": ("encoder", lambda h: h["identity"]["profiles"][0][0]["low"].pop(), "shapes that no"),
    "golden inputs of another shape": ("encoder", lambda h: h["golden"]["shapes"][0][2].append(1), "of other shapes"),
    "another type": ("encoder", lambda h: h["golden"]["outputs"][0].__setitem__(1, "float8"), "type float8"),
    "an infinite number": ("encoder", lambda h: h["golden"].update(width=float("inf")), "OverflowError"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_header_that_engines_do_not_have_is_refused_by_its_file(files: dict[str, Path], tmp_path: Path, damage: str
                                                                  ) -> None:
    name, change, said = DAMAGES[damage]
    path = changed(files[name], tmp_path / "x.engine", change)
    with pytest.raises(EngineFileError, match=rf"x\.engine: damaged header, .*{said}"):
        read_header(path)


def test_a_header_without_what_golden_inputs_are_drawn_from_is_refused_when_it_is_opened(
        files: dict[str, Path], tmp_path: Path) -> None:
    path = changed(files["key_hyper"], tmp_path / "x.engine", lambda header: header["golden"].update(sizes=[]))
    with pytest.raises(EngineFileError, match=r"x\.engine: damaged header: no golden inputs \(KeyError"):
        TensorRtBackend(cache=EngineCache(tmp_path), toolkit=FAKE.CpuToolkit()).open(path)


def test_a_name_that_leads_nowhere_is_listed_as_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.engine").symlink_to(tmp_path / "gone")
    (one,) = EngineCache(tmp_path).entries()
    assert one.header is None and not one.ours and "not a file" in one.problem


def test_an_engine_that_another_process_removes_meanwhile_ends_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                       ) -> None:
    monkeypatch.setattr(EngineCache, "_paths", lambda self: [tmp_path / "x.engine"])
    (one,) = EngineCache(tmp_path).entries()
    assert one.header is None and not one.ours


def test_an_engine_under_the_name_of_another_was_not_there(files: dict[str, Path], tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    changed(files["encoder"], tmp_path / files["encoder"].name,
            lambda header: header["identity"]["machine"].update(processors=14))
    with pytest.raises(EngineFileError, match="holds an engine for something else than its name says"):
        EngineBuilder(cache, FAKE.MACHINE, child=BUILD).build(PROFILE, "encoder", 1, 1)


def test_of_two_engines_for_the_same_shapes_the_one_built_last_is_used(files: dict[str, Path], tmp_path: Path) -> None:
    header, plan = read_plan(files["encoder"])
    for name, built in (("a", "2026-01-01T00:00:00+00:00"), ("b", "2026-03-01T00:00:00+00:00"),
                        ("c", "2026-02-01T00:00:00+00:00")):
        (tmp_path / f"{name}.engine").write_bytes(written(dataclasses.replace(header, built=built), plan))
        (tmp_path / f"{name}.engine").chmod(0o600)
    network = TensorRtBackend(cache=EngineCache(tmp_path), toolkit=FAKE.CpuToolkit()).load(PROFILE.path("encoder"))
    assert network._chosen({"picture": (1, 3, 64, 64)}) == (tmp_path / "b.engine", 0)


def test_the_graph_that_tensorrt_is_given_is_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    job = engines.Job("encoder", str(PROFILE.path("encoder")), False, (), 1, 1, 3, 0, FAKE.MACHINE, "", "")
    before, graph = job.identity(), engines.engine_graph

    def renamed(model: Any) -> Any:
        made = graph(model)
        made.graph.name += "2"
        return made

    monkeypatch.setattr(engines, "engine_graph", renamed)
    assert job.identity().key != before.key


def test_no_engine_of_an_exact_network_is_made_in_another_precision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path
                                                                    ) -> None:
    monkeypatch.setattr(engines, "precision_of", lambda model: "fp16")
    with pytest.raises(EngineError, match="key_hyper: computes in fp16; exact networks have to be float32"):
        EngineBuilder(EngineCache(tmp_path), FAKE.MACHINE, child=BUILD).build(PROFILE, "key_hyper", 1, 1)


def test_calls_of_one_network_from_several_threads_come_one_after_another(files: dict[str, Path]) -> None:
    inside: list[int] = []
    most: list[int] = []
    made: list[int] = []

    class Slow(FAKE.CpuExecution):  # type: ignore[name-defined]
        def __call__(self, profile: int, inputs: Any) -> Any:
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()
            return super().__call__(profile, inputs)

    def execution(self: Any) -> Slow:
        made.append(1)
        return Slow(self.session, self.profiles, self.off)

    engine = type("SlowEngine", (FAKE.CpuEngine,), {"execution": execution})
    toolkit = FAKE.CpuToolkit()
    toolkit.open = engine
    network = TensorRtBackend(cache=EngineCache(files["key_hyper"].parent), toolkit=toolkit).load(
        PROFILE.path("key_hyper"))
    inputs = exact_inputs("key_hyper", PROFILE.manifest["sizes"], 1, 1, False)
    network(**inputs)
    threads = [threading.Thread(target=network, kwargs=inputs) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1 and len(made) == 2  # one execution for golden inference, one for all calls
    assert np.array_equal(network(**inputs)[0], network(**inputs)[0])


def test_a_child_does_not_run_code_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "duoview").mkdir()
    (tmp_path / "duoview" / "__init__.py").write_text("print('code of the current folder', flush=True)")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    done = subprocess.run([*CHILD, "no job"], cwd=tmp_path, capture_output=True, text=True)
    assert "code of the current folder" not in done.stdout and "no job" in done.stderr


def test_lines_of_libraries_among_the_childs_are_passed_over(tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    lines = ['{"phase": "cut', "{}", "[TRT] hello", json.dumps(dataclasses.asdict(Progress("a", "", 1, 2)))]
    child.write_text(f"print({chr(10).join(lines)!r})\nraise SystemExit('the end')")
    told: list[Progress] = []
    builder = EngineBuilder(EngineCache(tmp_path / "engines"), FAKE.MACHINE, child=(sys.executable, str(child)),
                            tell=lambda name, progress: told.append(progress))
    with pytest.raises(EngineError, match="failed with code 1: the end"):
        builder.build(PROFILE, "encoder", 1, 1)
    assert told == [Progress("a", "", 1, 2)]


def test_a_child_goes_on_when_nobody_reads_its_progress() -> None:
    script = ("import time; from duoview.export.engine_child import Speaker; "
              "from duoview.backends.tensorrt_toolkit import Progress\n"
              "speak = Speaker()\nspeak(Progress('a', '', 0, 1))\ninput()\n"
              "for _ in range(3): speak(Progress('b', '', 1, 1))")
    with subprocess.Popen([sys.executable, "-P", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdin is not None and child.stderr is not None
        assert json.loads(child.stdout.readline())["phase"] == "a"
        child.stdout.close()
        child.stdin.write("\n")
        child.stdin.flush()
        assert (child.stderr.read(), child.wait()) == ("", 0)


def test_progress_told_from_many_threads_comes_in_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pieces:
        """A stdout that lets other threads in after every write."""

        def __init__(self) -> None:
            self.text = ""

        def write(self, text: str) -> None:
            self.text += text
            time.sleep(0.001)

        def flush(self) -> None:
            pass

    out = Pieces()
    monkeypatch.setattr(engine_child, "sys", SimpleNamespace(stdout=out))
    speak = engine_child.Speaker()

    def many() -> None:
        for number in range(9):
            speak(Progress("a", "", number, 9))

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.loads(line)["phase"] for line in out.text.splitlines()] == 36 * ["a"]


def test_the_lock_of_builds_lasts_as_long_as_a_child_that_outlives_its_parent(tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text("import os, sys, time; print(os.getpid(), flush=True, file=open(os.environ['PID_FILE'], 'w'))\n"
                     "time.sleep(60)")
    parent = ("import os, sys; from pathlib import Path; from duoview.profile import Profile\n"
              "from duoview.backends.engine import EngineMachine\n"
              "from duoview.backends.engine_cache import EngineCache\n"
              "from duoview.export.engines import EngineBuilder\n"
              "EngineBuilder(EngineCache(Path(sys.argv[1])), EngineMachine('1', 1, 'a', '1', 1), "
              "child=(sys.executable, sys.argv[2])).build(Profile('s'), 'encoder', 1, 1)")
    number = tmp_path / "pid"
    process = subprocess.Popen([sys.executable, "-P", "-c", parent, str(tmp_path / "engines"), str(child)],
                               env=os.environ | {"PID_FILE": str(number)})
    until = time.monotonic() + 60
    while not (number.exists() and number.read_text().endswith("\n")) and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    process.wait()
    waiting, orphan = threading.Event(), int(number.read_text())

    def take() -> None:
        with EngineCache(tmp_path / "engines").build_lock(waiting.set):
            pass

    other = threading.Thread(target=take)
    other.start()
    assert waiting.wait(10)
    os.kill(orphan, 9)
    other.join(10)
    assert not other.is_alive()
