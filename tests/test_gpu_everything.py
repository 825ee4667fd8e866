"""bench/gpu/everything.py: its plan, budget, resume and report, with parts that are real programs and take no time."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "bench" / "gpu"

STAND_IN = """
import json, pathlib, sys, time
out, result, code, seconds = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
with (out / "ran").open("a") as ran:
    print(*sys.argv[5:], file=ran)
print("a stand-in was here", flush=True)
time.sleep(seconds)
if result is not None:
    (out / "result.json").write_text(json.dumps(result))
raise SystemExit(code)
"""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module, on a machine whose facts take no time to ask for."""
    monkeypatch.syspath_prepend(FOLDER)
    everything = importlib.import_module("everything")
    monkeypatch.setattr(everything, "describe", lambda environment: {"gpu": "none: a stand-in", "versions": {}})
    return everything


class Bench:
    """Calls of the script with parts of our own."""

    def __init__(self, gpu: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gpu, self.out, self.monkeypatch = gpu, folder / "out", monkeypatch
        self.script = folder / "stand_in.py"
        self.script.write_text(STAND_IN)
        self.parts: list[Any] = []

    def add(self, name: str, result: Any = None, *, code: int = 0, takes: float = 0.0, kind: str = "check",
            **more: Any) -> None:
        """A part that writes a result, waits and exits."""
        words = (str(self.script), "{out}", json.dumps(result), str(code), str(takes), "{minutes}")
        self.parts.append(self.gpu.Part(name, kind, words, "result.json", more.pop("seconds", 60.0),
                                        more.pop("least", 0.0), **more))

    def call(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run it, check its exit code, and return everything.json."""
        self.monkeypatch.setattr(self.gpu, "plan", lambda given, out: self.parts)
        self.monkeypatch.setattr(sys, "argv", ["everything.py", "--out", str(self.out), "--dry", "--installed",
                                               "--photographs", str(self.script.parent), "--clips",
                                               str(self.script.parent), *words])
        assert self.gpu.main() == code
        found: dict[str, Any] = json.loads((self.out / "everything.json").read_text())
        return found

    def ran(self, name: str) -> list[str]:
        """What the part was told, each time that it ran."""
        path = self.out / name / "ran"
        return path.read_text().splitlines() if path.is_file() else []


@pytest.fixture
def bench(gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(gpu, tmp_path, monkeypatch)


def status(found: dict[str, Any]) -> dict[str, str]:
    return {part["name"]: part["status"] for part in found["parts"]}


def why(found: dict[str, Any], name: str) -> str:
    return next(part["why"] for part in found["parts"] if part["name"] == name)


GOOD = {"what": {"good": True}}


def test_all_that_passes_is_exit_code_zero(bench: Bench) -> None:
    bench.add("one", GOOD, sections=("what",))
    bench.add("two", GOOD, kind="benchmark")
    found = bench.call()
    assert (status(found)["one"], status(found)["two"]) == ("passed", "passed")
    part = json.loads((bench.out / "one" / "part.json").read_text())
    assert part["result"] == GOOD and part["device"]["gpu"] == "none: a stand-in" and part["exit"] == 0
    assert part["command"][0] == "PYTHON" and part["commit"] == found["commit"] and part["tree"] == found["tree"]
    assert "a stand-in was here" in (bench.out / "one" / "log.txt").read_text()


def test_a_part_that_fails_does_not_stop_the_others(bench: Bench) -> None:
    bench.add("crashes", code=7)
    bench.add("differs", {"what": {"good": False, "tail": "these bytes differ"}}, code=1, sections=("what",))
    bench.add("lies", {"what": {"good": False}})
    bench.add("empty", {}, sections=("what",))
    bench.add("works", GOOD)
    found = bench.call(code=1)
    assert found["failed"] == ["crashes", "differs", "lies", "empty"] and found["passed"] == ["works"]
    assert "exit 7" in why(found, "crashes") and "a stand-in was here" in why(found, "crashes")
    assert "these bytes differ" in why(found, "differs")
    assert "no result of what" in why(found, "empty")


@pytest.mark.parametrize(("written", "said"), [('{"what": {"go', "result.json is no JSON"), ("[1]", "no JSON object")])
def test_a_part_that_is_ended_while_it_writes_does_not_stop_the_others(bench: Bench, written: str, said: str) -> None:
    bench.add("torn")
    bench.add("works", GOOD)
    torn, works = bench.parts
    writer = bench.script.with_name("writer.py")
    writer.write_text(f"import pathlib, sys\npathlib.Path(sys.argv[1], 'result.json').write_text({written!r})\n")
    bench.parts = [replace(torn, words=(str(writer), "{out}")), works]
    found = bench.call(code=1)
    assert said in why(found, "torn") and status(found)["works"] == "passed"


def test_what_was_skipped_is_not_passed(bench: Bench) -> None:
    bench.add("idle", {"sanitizer": {"skipped": "no compute-sanitizer"}}, sections=("sanitizer",))
    bench.add("partly", {"tests": {"good": True, "passed": 3, "not_run": {"a::b": "no GPU"}},
                         "matrix": {"good": True, "results": {"not_run": [{"name": "tensorrt", "reason": "absent"}]}}},
              sections=("tests", "matrix"))
    found = bench.call(code=3)
    assert found["passed"] == [] and found["partly"] == ["partly"] and "idle" in found["not_run"]
    assert why(found, "idle") == "no compute-sanitizer"
    (part,) = (part for part in found["parts"] if part["name"] == "partly")
    assert part["not_run"] == [{"what": "tests: a::b", "why": "no GPU"},
                               {"what": "matrix.results: tensorrt", "why": "absent"}]


def test_a_part_is_ended_at_its_time_with_its_children(bench: Bench) -> None:
    bench.script.write_text("import subprocess, sys, pathlib\n"
                            "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
                            "import ctypes\nctypes.CDLL(None).prctl(15, b'\\xff) (', 0, 0, 0)\n"  # its name
                            "pathlib.Path(sys.argv[1], 'child').write_text(str(child.pid))\nchild.wait()\n")
    bench.add("endless", seconds=1.5)
    found = bench.call(code=3)
    assert status(found)["endless"] == "unfinished" and "ended after" in why(found, "endless")
    child = int((bench.out / "endless" / "child").read_text())
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"process {child} outlived the part that started it")


def test_a_call_that_is_ended_leaves_what_it_found_and_nothing_that_runs(bench: Bench) -> None:
    bench.add("before", GOOD)
    bench.add("during")
    bench.add("after", GOOD)
    before, during, after = bench.parts
    stopper = bench.script.with_name("stopper.py")
    stopper.write_text("import os, pathlib, signal, sys, time\n"
                       "pathlib.Path(sys.argv[1], 'pid').write_text(str(os.getpid()))\n"
                       "os.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(600)\n")
    bench.parts = [before, replace(during, words=(str(stopper), "{out}")), after]
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            bench.call()
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert ended.value.code == 128 + signal.SIGTERM
    assert not Path("/proc", (bench.out / "during" / "pid").read_text()).exists()
    found = json.loads((bench.out / "everything.json").read_text())
    assert [status(found)[name] for name in ("before", "during", "after")] == ["passed", "unfinished", "not run"]
    bench.parts = [before, during, after]
    assert status(bench.call("--resume", str(bench.out), code=1))["after"] == "passed"
    assert len(bench.ran("before")) == 1 and len(bench.ran("during")) == 1


def test_a_part_that_would_not_fit_is_not_begun(bench: Bench) -> None:
    bench.add("long", GOOD, least=600.0)
    bench.add("short", GOOD, least=1.0)
    found = bench.call("--minutes", "1", code=3)
    assert status(found)["long"] == "not run" and "it needs 600 s" in why(found, "long")
    assert bench.ran("long") == [] and status(found)["short"] == "passed"


def test_the_next_call_runs_what_has_not_passed(bench: Bench) -> None:
    bench.add("passes", GOOD)
    bench.add("fails", code=1)
    bench.add("late", GOOD, least=600.0)
    bench.call("--minutes", "1", code=1)
    found = bench.call("--resume", str(bench.out), code=1)
    assert [len(bench.ran(name)) for name in ("passes", "fails", "late")] == [1, 1, 1]
    assert status(found)["late"] == "passed"
    assert [call["ran"] for call in found["calls"]] == [["passes", "fails"], ["late"]]
    bench.call("--resume", str(bench.out), "--retry", code=1)
    assert [len(bench.ran(name)) for name in ("passes", "fails", "late")] == [1, 2, 1]


def test_other_sources_are_checked_anew_and_trainings_go_on(bench: Bench) -> None:
    bench.add("check", GOOD)
    bench.add("train", {}, kind="training", minutes=0.5)
    bench.call()
    bench.monkeypatch.setattr(bench.gpu, "tree", lambda: "other sources")
    found = bench.call("--resume", str(bench.out), "--parts", "training")
    assert found["of_other_sources"] == ["check", "train"] and len(bench.ran("check")) == 1
    bench.call("--resume", str(bench.out))
    assert len(bench.ran("check")) == 2 and bench.ran("train") == ["0.5"]


def test_a_training_goes_on_for_the_minutes_that_are_left_of_its_share(bench: Bench) -> None:
    bench.add("train", {}, kind="training", minutes=2.0, seconds=30.0, least=6.0)
    found = bench.call("--minutes", "1.5", code=3)
    (first,) = bench.ran("train")
    assert 0.8 < float(first) <= 1.0 and status(found)["train"] == "partly"
    found = bench.call("--resume", str(bench.out), "--minutes", "0.55", code=3)
    assert len(bench.ran("train")) == 1 and status(found)["train"] == "partly"  # 3 s are too few to begin
    found = bench.call("--resume", str(bench.out))
    assert float(bench.ran("train")[1]) == 2.0 and status(found)["train"] == "passed"
    bench.call("--resume", str(bench.out))
    assert len(bench.ran("train")) == 2


def test_a_training_waits_for_what_it_reads(bench: Bench) -> None:
    bench.add("first", code=1, kind="training", minutes=0.1)
    bench.add("second", {}, kind="training", minutes=0.1, after=("first",))
    bench.add("third", {}, kind="training", minutes=0.1, needs=((None, "--weights FOLDER"),))
    bench.add("fourth", {}, kind="training", minutes=0.1, needs=((bench.out / "nowhere", "a profile"),))
    found = bench.call(code=1)
    assert why(found, "second") == "needs first, which is failed"
    assert why(found, "third") == "needs --weights FOLDER"
    assert why(found, "fourth").startswith("needs a profile: ") and bench.ran("second") == []


def test_a_build_is_kept_while_sources_and_wheels_are_the_same(bench: Bench, tmp_path: Path) -> None:
    site, wheels, counted = tmp_path / "site", tmp_path / "wheels", tmp_path / "counted"
    wheels.mkdir()
    builder = tmp_path / "_build.py"
    builder.write_text(f"import json, pathlib, sys\nsys.path.insert(0, {str(FOLDER)!r})\nimport _build, _checkout\n"
                       f"pathlib.Path({str(site)!r}, 'duoview').mkdir(parents=True, exist_ok=True)\n"
                       f"print('built', file=open({str(counted)!r}, 'a'))\n"
                       "out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1])\n"
                       f"(out / 'build.json').write_text(json.dumps(dict(tree=_checkout.tree(), "
                       f"root=str(_checkout.ROOT), environment=dict("
                       f"BUILT='yes'), wheels=_build.wheels_in(pathlib.Path({str(wheels)!r})))))\n")
    bench.monkeypatch.setattr(bench.gpu, "HERE", tmp_path)
    bench.add("one", GOOD)
    bench.add("two", GOOD | {"matrix": {"not_run": {"onnxruntime-cuda": "absent"}}})
    bench.monkeypatch.setattr(bench.gpu, "plan", lambda given, out: bench.parts)
    for count, more in ((1, []), (1, ["--resume", str(bench.out)]), (2, ["--resume", str(bench.out)])):
        if count == 2:
            (wheels / "another-1-py3-none-any.whl").write_bytes(b"")
        bench.monkeypatch.setattr(sys, "argv", [
            "everything.py", "--out", str(bench.out), "--dry", "--photographs", str(tmp_path), "--clips", str(tmp_path),
            "--wheels", str(wheels), "--site", str(site), *more])
        assert bench.gpu.main() == 3
        assert counted.read_text().split() == ["built"] * count
        # What lacked something is tried again with more wheels; what passed is not.
        assert (len(bench.ran("one")), len(bench.ran("two"))) == (1, count)
    builder.write_text("print('nvcc: not there'); raise SystemExit(1)")
    (wheels / "third-1-py3-none-any.whl").write_bytes(b"")
    assert bench.gpu.main() == 1
    found = json.loads((bench.out / "everything.json").read_text())
    assert status(found)["build"] == "failed" and "nvcc: not there" in why(found, "build")


def test_only_the_parts_that_were_asked_for_count(bench: Bench) -> None:
    bench.add("check", code=1)
    bench.add("measure", GOOD, kind="benchmark")
    found = bench.call("--parts", "benchmark")
    assert status(found)["check"] == "not run" and why(found, "check") == "not among --parts benchmark"
    assert status(found)["measure"] == "passed"


def test_a_call_goes_on_from_what_was_brought_back(bench: Bench, tmp_path: Path) -> None:
    bench.add("train", {}, kind="training", minutes=0.4)
    (bench.out / "train").mkdir(parents=True)
    (bench.out / "train" / "some.pt").write_bytes(os.urandom(300_000))
    (bench.out / "train" / "large.pt").write_bytes(bytes(2_000_000))
    bench.call("--pack", str(tmp_path / "brought"), "--pack-mib", "1", "--piece-mib", "0.25")
    brought = sorted(path for path in (tmp_path / "brought").rglob("*") if path.is_file())
    assert len(brought) <= 8 and all(path.stat().st_size <= 0.25 * 2**20 for path in brought)
    told = json.loads((tmp_path / "brought" / "everything.json").read_text())
    assert told["left_behind"] == [{"file": "train/large.pt", "bytes": 2_000_000}]
    kept = (bench.out / "train" / "some.pt").read_bytes()
    bench.out = tmp_path / "elsewhere"
    bench.add("more", GOOD)
    found = bench.call("--resume", str(tmp_path / "brought"))
    assert (bench.out / "train" / "some.pt").read_bytes() == kept
    assert bench.ran("train") == ["0.4"] and status(found)["more"] == "passed" and len(found["calls"]) == 2


def test_a_training_whose_checkpoint_was_too_large_to_come_back_begins_anew(bench: Bench, tmp_path: Path) -> None:
    bench.add("train", {}, kind="training", minutes=2.0, seconds=30.0, least=6.0)
    checkpoint = bench.out / "train" / "run" / "large.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(bytes(2_000_000))
    bench.call("--minutes", "1.5", "--pack", str(tmp_path / "brought"), "--pack-mib", "1", code=3)
    bench.out = tmp_path / "elsewhere"
    found = bench.call("--resume", str(tmp_path / "brought"), "--minutes", "1.5", code=3)
    assert float(bench.ran("train")[-1]) <= 1.0 and status(found)["train"] == "partly"


def test_what_is_made_again_may_be_too_large_and_what_was_torn_is_not_packed(bench: Bench, tmp_path: Path) -> None:
    bench.add("train", {}, kind="training", minutes=2.0, seconds=30.0, least=6.0)
    run = bench.out / "train" / "run"
    run.mkdir(parents=True)
    for name, size in (("net.pt", 99), ("samples.npz", 2_000_000), ("net.tmp", 900_000), ("samples.tmp.npz", 900_000)):
        (run / name).write_bytes(bytes(size))
    bench.call("--minutes", "1.5", "--pack", str(tmp_path / "brought"), "--pack-mib", "1", code=3)
    told = json.loads((tmp_path / "brought" / "everything.json").read_text())
    assert told["left_behind"] == [{"file": "train/run/samples.npz", "bytes": 2_000_000}]
    bench.out = tmp_path / "elsewhere"
    bench.call("--minutes", "1.4", "--resume", str(tmp_path / "brought"), code=3)
    first, second = map(float, bench.ran("train"))
    assert 0.8 < first <= 1 and first + 0.7 < second < 2
    assert sorted(path.name for path in (bench.out / "train" / "run").iterdir()) == ["net.pt"]


@pytest.mark.parametrize(("words", "said"), [
    (["--minutes", "0"], "--minutes 0.0: expected more than 0"),
    (["--parts", "check,nothing"], "--parts nothing: expected some of one, or a kind: check, training, benchmark"),
    (["--resume", "nowhere"], "--resume nowhere: no everything.json in it"),
    (["--weights", "nowhere"], "--weights nowhere: no such folder"),
    (["--carried", "nowhere"], "--carried nowhere: no carried.json in it"),
    (["--carried", "{tmp}"], "carried.json: not of carry.py (KeyError: 'commit'); join the loads again"),
    (["--pack", "{tmp}/out/pack"], "lies in --out, all of which is packed"),
    (["--pack-mib", "0"], "--pack-mib 0: expected 1 or more"),
])
def test_what_cannot_be_used_is_said(bench: Bench, words: list[str], said: str, capsys: pytest.CaptureFixture[str],
                                     tmp_path: Path) -> None:
    bench.add("one", GOOD)
    (tmp_path / "carried.json").write_text("{}")
    words = [word.replace("{tmp}", str(tmp_path)) for word in words]
    with pytest.raises(FileNotFoundError):
        bench.call(*words, code=2)  # nothing is written
    assert said in capsys.readouterr().err


def test_an_earlier_result_is_not_written_over(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.add("one", GOOD)
    bench.call()
    before = (bench.out / "everything.json").read_bytes()
    bench.call(code=2)
    assert "an earlier call's everything.json is there" in capsys.readouterr().err
    assert (bench.out / "everything.json").read_bytes() == before


def test_without_a_gpu_nothing_runs_but_a_dry_run(bench: Bench) -> None:
    bench.add("one", GOOD)
    bench.monkeypatch.setattr(bench.gpu, "plan", lambda given, out: bench.parts)
    bench.monkeypatch.setattr(sys, "argv", ["everything.py", "--out", str(bench.out), "--installed"])
    assert bench.gpu.main() == 3
    found = json.loads((bench.out / "everything.json").read_text())
    assert why(found, "one") == "no GPU (none: a stand-in); --dry runs on the CPU" and bench.ran("one") == []


@pytest.mark.parametrize("dry", [True, False])
def test_the_words_of_every_part_are_those_of_its_script(gpu: Any, tmp_path: Path, dry: bool) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in ("yolox_nano_416.onnx", "FastestDet_352.onnx", "shufflenetv2_0.35x_imagenet.pth"):
        (weights / name).write_bytes(b"")
    given = argparse.Namespace(dry=dry, photographs=tmp_path, clips=tmp_path, weights=weights, begin="key", classes="",
                               objects=True, hold=["one", "two"], training_minutes=12.0, through="torch")
    parts = gpu.plan(given, tmp_path / "out")
    assert len({part.name for part in parts}) == len(parts)
    kinds = [part.kind for part in parts]
    assert kinds == sorted(kinds, key=("check", "training", "benchmark").index)
    assert sum(part.minutes for part in parts) == pytest.approx(12)
    for part in parts:
        assert part.missing() == ""
        _, script, *words = part.command(tmp_path / "out" / part.name, 1.0)
        read = importlib.import_module(Path(script).stem).parser().parse_args(words)
        assert read.out == tmp_path / "out" / part.name and read.installed
        if part.kind == "training":
            assert read.device == ("cpu" if dry else "cuda") and read.hold == ["one", "two"]
            assert sum(float(minutes) for minutes in str(read.minutes).split(",")) == pytest.approx(1, abs=2e-3)


def test_tests_that_were_skipped_are_listed_and_not_counted(gpu: Any, tmp_path: Path) -> None:
    tests = importlib.import_module("_tests")
    (tmp_path / "tests.xml").write_text(
        '<testsuites><testsuite><testcase classname="tests.test_a" name="one"/><testcase classname="tests.test_a" '
        'name="two"><skipped message="no GPU"/></testcase></testsuite></testsuites>')
    found = tests.counted(tmp_path / "tests.xml")
    assert (found["passed"], found["skipped"], found["good"]) == (1, 1, True)
    assert found["not_run"] == {"test_a::two": "no GPU"}
    (tmp_path / "tests.xml").write_text('<testsuite><testcase classname="t" name="x"><skipped/></testcase></testsuite>')
    assert not tests.counted(tmp_path / "tests.xml")["good"]
    with pytest.raises(ValueError, match="left no report"):
        tests.counted(tmp_path / "nothing.xml")


def test_a_build_names_what_the_machine_lacks(gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = importlib.import_module("_checkout")
    monkeypatch.setattr(checkout, "tools_path", lambda: str(tmp_path))
    monkeypatch.setattr(checkout, "cuda_homes", list)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"cannot be built here:(\n|.)*cmake: (\n|.)*C\+\+ compiler: (\n|.)*nvcc: "):
        checkout.install(tmp_path / "site", None, cuda=True)


def test_a_folder_to_install_into_is_made_anew_only_where_it_was_made_for_that(gpu: Any, tmp_path: Path) -> None:
    build = importlib.import_module("_build")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letters.txt").write_text("keep")
    with pytest.raises(SystemExit, match="mine: there is something in it that is not of an earlier call"):
        build.clear(tmp_path / "mine")
    assert (tmp_path / "mine" / "letters.txt").read_text() == "keep"
    for _ in range(2):
        build.clear(tmp_path / "site")
        assert not (tmp_path / "site" / "duoview").exists()
        (tmp_path / "site" / "duoview").mkdir()


def test_a_dry_run_draws_its_pictures_and_clips(gpu: Any, tmp_path: Path) -> None:
    given = argparse.Namespace(out=tmp_path, photographs=None, clips=None, hold=["other"], objects=True)
    importlib.import_module("_dry_material").material(given)
    assert given.objects and given.hold == ["filmed_held"]
    clips, pictures = sorted(given.clips.iterdir()), sorted(given.photographs.iterdir())
    assert [path.name for path in clips if "filmed_held" in path.name] == ["filmed_held.mp4"] and len(clips) == 5
    for path in clips + pictures:
        with av.open(str(path)) as opened:
            frames = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]
        assert len(frames) == (24 if path in clips else 1) and frames[0].shape == (288, 320, 3)
        assert frames[-1].std() > 10
    given = argparse.Namespace(out=tmp_path / "none", photographs=tmp_path, clips=tmp_path, hold=["mine"], objects=True)
    importlib.import_module("_dry_material").material(given)
    assert given.photographs == tmp_path and given.hold == ["mine"] and not (tmp_path / "none").exists()
