"""GPU backlog: all of it in one call, or several: build, every CUDA test, the trainings of the backlog, the benchmarks.

    python bench/gpu/everything.py --carried /tmp/carried --out /tmp/found --pack "$OUT" --minutes 9
    python bench/gpu/everything.py --carried /tmp/carried --out /tmp/found --pack "$OUT" --minutes 9 --resume FOLDER
    python bench/gpu/everything.py --out /tmp/dry --dry [--weights FOLDER]       # on the CPU with tiny sizes
    python bench/gpu/everything.py --out /tmp/found --list                       # the parts, what they need, their time

``--carried`` is what bench/gpu/carry.py put together: wheels of what the machine lacks, folders of photographs, clips
and weights. Parts run in order, as long as their time fits into what is left of ``--minutes``; one that fails does not
stop the others. ``--resume`` takes the --out or the --pack of an earlier call: what has passed with the same sources is
not run again, what was not run or ended at its time is, what failed only with ``--retry``. With other wheels than
before, what failed or could not run within a part is tried again. Trainings go on from their checkpoints until each has
had its share of ``--training-minutes``.

Every part has a folder in ``--out`` with a log and ``part.json``: status, device, driver, versions, commit, seconds and
what it found. ``everything.json`` lists all of them as passed, partly, failed, unfinished or not run, with the reason;
what did not run is never among what passed. ``--pack`` holds it and the rest in few files of limited size.

Exit code: 0 where all that was asked for passed, 1 where something failed, 2 for what cannot be used, 3 where nothing
failed and something did not run, or not to its end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _build import BUILT, wheels_in
from _checkout import COMMIT, ROOT, commit, library_path, tree
from _device import describe
from _dry_material import material
from _pack import pack, unpack
from _pieces import MANIFEST
from _plan import DATA, KINDS, Part, plan
from _state import STATE, WAITING, Found, read, read_result, verdict, write, write_whole
from _training import HELD
from carry import INFO

HERE = Path(__file__).resolve().parent
BUILD = "build"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, required=True, help="where everything is written, checkpoints included")
    p.add_argument("--resume", type=Path, metavar="FOLDER", help="--out or --pack of an earlier call")
    p.add_argument("--pack", type=Path, metavar="FOLDER", help="what is brought back, in few files")
    p.add_argument("--pack-mib", type=float, default=56.0, help="most of it")
    p.add_argument("--piece-mib", type=float, default=15.0, help="largest file of it")
    p.add_argument("--minutes", type=float, help="of this call, the build included (default: 9, in a dry run 120)")
    p.add_argument("--parts", default="", metavar="NAME,...", help="some of the parts, or kinds: " + ", ".join(KINDS))
    p.add_argument("--retry", action="store_true", help="run again what failed")
    p.add_argument("--list", action="store_true", help="print the parts and run nothing")
    p.add_argument("--dry", action="store_true", help="on the CPU with tiny sizes: the script works")
    p.add_argument("--installed", action="store_true", help="use the installed duoview; build nothing")
    p.add_argument("--prebuilt", action="store_true", help="install duoview's wheel among --wheels in place of a build")
    p.add_argument("--site", type=Path, help="folder to install into, used again by the next call (default: one of "
                                             "this checkout's own in the folder for temporary files)")
    p.add_argument("--carried", type=Path, help="folder of carry.py --join: wheels, " + ", ".join(DATA))
    p.add_argument("--wheels", type=Path, help="folder of wheels to install first")
    p.add_argument("--photographs", type=Path, help="folder of images to train on")
    p.add_argument("--classes", default="", metavar="NAME", help="folder below --photographs, or that itself, whose "
                   "pictures classes are measured on in the machine stage (default: none)")
    p.add_argument("--clips", type=Path, help="folder of videos to train on")
    p.add_argument("--weights", type=Path, help="folder of the networks to learn from")
    p.add_argument("--hold", nargs="+", metavar="NAME", help="clips held back from training: parts of their names "
                                                             f"(default: {' '.join(HELD)})")
    p.add_argument("--training-minutes", type=float, help="of all trainings over all calls (default: 12, dry: 0.5)")
    p.add_argument("--begin", default="key", help="what P frames' transforms begin with, as machine_command --begin "
                                                  "(default: key)")
    p.add_argument("--through", choices=["pycuda", "torch"], default="pycuda", help="who makes the context current")
    return p


def completed(given: argparse.Namespace) -> argparse.Namespace:
    """Defaults that depend on others. Raises ValueError for what cannot be."""
    for name, real, dry in (("minutes", 9.0, 120.0), ("training_minutes", 12.0, 0.5)):
        if getattr(given, name) is None:
            setattr(given, name, dry if given.dry else real)
    for name in ("minutes", "training_minutes"):
        if not 0 < getattr(given, name) < 1e4:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(given, name)}: expected more than 0")
    for name, least in (("pack_mib", 1.0), ("piece_mib", 0.1)):
        if not getattr(given, name) >= least:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(given, name):g}: expected {least:g} or more")
    given.piece_mib = min(given.piece_mib, given.pack_mib)
    given.out = given.out.resolve()
    if given.pack is not None and (given.pack.resolve() == given.out or given.out in given.pack.resolve().parents):
        raise ValueError(f"--pack {given.pack}: lies in --out, all of which is packed; give a folder beside it")
    if given.carried is not None:
        info = carried(given.carried)
        if not commit():
            # Without history here; where the sources differ from those that were carried, the commit says so.
            os.environ[COMMIT] = info["commit"] + ("" if info["tree"] == tree() else "+")
        if given.prebuilt and info["tree"] != tree():
            raise ValueError(f"--prebuilt: the wheel in {given.carried} is of other sources than this checkout; carry "
                             "it anew")
        for name in ("wheels", *DATA):
            if getattr(given, name) is None and (given.carried / name).is_dir():
                setattr(given, name, given.carried / name)
    for name in ("wheels", *DATA):
        folder = getattr(given, name)
        if folder is not None:
            if not folder.is_dir():
                raise ValueError(f"--{name} {folder}: no such folder")
            setattr(given, name, folder.resolve())
    given.hold, given.objects = given.hold or list(HELD), True
    return given


def carried(folder: Path) -> dict[str, Any]:
    """What carry.py tells of what it put together. Raises ValueError where it did not."""
    path = folder / INFO
    if not path.is_file():
        raise ValueError(f"--carried {folder}: no {INFO} in it; expected what carry.py --join put together")
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        return {"commit": str(found["commit"]), "tree": str(found["tree"])}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not of carry.py ({type(error).__name__}: {error}); join the loads again") from None


def children(pid: int) -> list[int]:
    """All processes below one, also those in sessions of their own."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name before it may hold anything: brackets, bytes that are no text.
            parent = int(entry.read_text(errors="replace").rsplit(")", 1)[1].split()[1])
        except OSError:  # ended meanwhile
            continue
        parents.setdefault(parent, []).append(int(entry.parent.name))
    found, waiting = [], [pid]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def end(run: subprocess.Popen[bytes]) -> None:
    """Kill a program that was started in a session of its own, and whatever it has started."""
    below = children(run.pid)
    os.killpg(run.pid, signal.SIGKILL)
    for pid in below:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # was in the group
            continue
    run.wait()


class Runner:
    """A call: what is left of its time, what was found so far, and the environment that parts run in."""

    def __init__(self, given: argparse.Namespace, parts: Sequence[Part]) -> None:
        self.given, self.parts, self.out = given, parts, given.out
        self.began, self.tree = time.monotonic(), tree()
        self.found = {BUILD: Found(BUILD, "check")} | {part.name: Found(part.name, part.kind) for part in parts}
        self.wheels = [] if given.installed else wheels_in(given.wheels)
        self.calls: list[dict[str, Any]] = []
        self.environment: dict[str, str] | None = None
        self.device: dict[str, Any] = {}
        if given.resume is not None:
            self.take_over(given.resume)
        elif (self.out / STATE).exists():
            raise ValueError(f"--out {self.out}: an earlier call's {STATE} is there; go on with --resume {self.out}, "
                             "or give another folder")
        self.call: dict[str, Any] = {"began": datetime.now(UTC).isoformat(timespec="seconds"), "minutes": given.minutes,
                                     "commit": commit(), "ran": []}
        self.calls.append(self.call)

    def take_over(self, folder: Path) -> None:
        """What an earlier call found and left to go on from."""
        behind: list[dict[str, Any]] = []
        if (folder / MANIFEST).is_file():
            behind = unpack(folder, self.out)
        elif folder.resolve() != self.out:
            read(folder)  # before anything is copied
            shutil.copytree(folder, self.out, dirs_exist_ok=True)
        earlier, self.calls, dry = read(self.out)
        if dry != self.given.dry:
            raise ValueError(f"--resume {folder}: of a {'dry' if dry else 'real'} run, and this one is "
                             f"{'dry' if self.given.dry else 'real'}")
        self.found |= {name: one for name, one in earlier.items() if name in self.found and name != BUILD}
        for part in self.parts:
            if part.minutes > self.found[part.name].minutes > 0 and any(
                    one["file"].startswith(f"{part.name}/run/") and one["file"].endswith(".pt") for one in behind):
                self.note(part.name, "not run", "what it would go on from was too large to come back", minutes=0.0)

    def left(self) -> float:
        """Seconds of this call."""
        return 60 * self.given.minutes - (time.monotonic() - self.began)

    def write(self) -> None:
        self.call["seconds"] = round(time.monotonic() - self.began, 1)
        beside = {"dry": self.given.dry, "commit": commit(), "tree": self.tree, "device": self.device}
        write(self.out, list(self.found.values()), self.calls, **beside)
        if self.given.pack is not None:
            self.given.pack.mkdir(parents=True, exist_ok=True)
            behind = pack(self.out, self.given.pack, most=self.given.pack_mib, piece=self.given.piece_mib)
            write(self.given.pack, list(self.found.values()), self.calls, **beside, left_behind=behind)

    def note(self, name: str, status: str, why: str, **more: Any) -> None:
        """A part's new status; what else is known of it stays."""
        one = self.found[name]
        self.found[name] = Found(**{**vars(one), "status": status, "why": why, **more})
        print(f"{name}: {status}{': ' + why if why else ''}", flush=True)

    def program(self, name: str, command: Sequence[str], seconds: float) -> tuple[int | None, float, str]:
        """Run it with what it says in a log; its exit code, None where it was ended, its seconds and its last lines."""
        folder = self.out / name
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with (folder / "log.txt").open("a") as log:
            before = log.tell()
            run = subprocess.Popen(list(command), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   env=self.environment, cwd=folder, start_new_session=True)
            try:
                code: int | None = run.wait(timeout=max(1.0, seconds))
            except subprocess.TimeoutExpired:
                code = None
            finally:
                if run.poll() is None:  # also where this program is ended: nothing of ours stays behind
                    end(run)
        said = (folder / "log.txt").read_bytes()[before:].decode(errors="replace")[-600:].strip()
        return code, round(time.monotonic() - began, 1), said

    def build(self) -> bool:
        """The environment of all parts; False where it cannot be had, with every part noted as not run."""
        given = self.given
        if given.installed:
            path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
            self.environment = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "ORT_DISABLE_TELEMETRY": "1",
                                             "LD_LIBRARY_PATH": library_path()}
            self.note(BUILD, "not run", "--installed: what is installed is used")
        else:
            # Outside of --out, which is brought back, and of a name that other sources do not have.
            site = given.site or Path(tempfile.gettempdir(), f"duoview-site-{self.tree[:12]}")
            built = self.out / BUILD / BUILT
            known = json.loads(built.read_text()) if built.is_file() else {}
            of_now = [known.get(name) for name in ("tree", "wheels", "root")] == [self.tree, self.wheels, str(ROOT)]
            if not of_now or not Path(site, "duoview").is_dir():
                built.unlink(missing_ok=True)
                words = ["--wheels", str(given.wheels)] if given.wheels is not None else []
                words += ["--prebuilt"] if given.prebuilt else []
                command = [sys.executable, str(HERE / "_build.py"), "--out", str(built.parent), "--site", str(site),
                           *words]
                code, seconds, said = self.program(BUILD, command, self.left())
                known = json.loads(built.read_text()) if code == 0 and built.is_file() else {}
                status = "passed" if known else "unfinished" if code is None else "failed"
                self.note(BUILD, status, "" if known else said or f"exit {code}", seconds=seconds, tree=self.tree,
                          commit=commit(), results=f"{BUILD}/{BUILT}")
            else:
                self.note(BUILD, "passed", "", tree=self.tree, commit=commit(), results=f"{BUILD}/{BUILT}")
            if not known:
                self.nothing("the build failed")
                return False
            self.environment = os.environ | known["environment"]
        self.device = describe(self.environment)
        gpu = str(self.device.get("gpu", self.device.get("problem", "none")))
        if not given.dry and ("problem" in self.device or gpu.startswith("none")):
            self.nothing(f"no GPU ({gpu}); --dry runs on the CPU")
            return False
        return True

    def nothing(self, why: str) -> None:
        """No part can run; what earlier calls found stays."""
        for name, one in self.found.items():
            if name != BUILD and one.status == "not run":
                self.note(name, "not run", why)

    def due(self, part: Part) -> str:
        """Why a part is not run in this call; empty where it is to be."""
        one = self.found[part.name]
        of_now = one.tree == self.tree or part.kind == "training"
        # A wheel that came with a later load may be what it lacked.
        lacked = one.wheels != self.wheels and (one.status == "failed" or bool(one.not_run))
        if one.status == "failed" and of_now and not lacked and not self.given.retry:
            return one.why
        if one.status in ("passed", "partly") and of_now and not lacked and one.minutes >= part.minutes - 1e-6:
            return one.why or "passed"
        return ""

    def run(self, part: Part) -> None:
        """Run a part if its time and its needs are there, and note what came of it."""
        one = self.found[part.name]
        if self.due(part):
            print(f"{part.name}: {one.status}, as found before", flush=True)
            return
        waits = [f"needs {name}, which is {self.found[name].status}" for name in part.after
                 if not self.found[name].minutes]
        missing = "; ".join(filter(None, (*waits, part.missing())))
        if missing:
            self.note(part.name, "not run", missing)
            return
        left, minutes, seconds = self.left(), 0.0, part.seconds
        if part.minutes:
            goes = min(part.minutes - one.minutes, (left - part.seconds) / 60)
            if goes <= 0 or goes < min(part.least / 60, part.minutes - one.minutes):
                self.late(part, f"{left:.0f} s are left of {self.given.minutes:g} minutes; it needs {part.seconds:.0f} "
                          f"s beside its training, and {part.least:.0f} s for that")
                return
            minutes = one.minutes + goes
            seconds = 60 * goes + part.seconds
        elif left < part.least:
            self.late(part, f"{left:.0f} s are left of {self.given.minutes:g} minutes; it needs {part.least:.0f} s")
            return
        self.judge(part, minutes, min(seconds, left))

    def late(self, part: Part, why: str) -> None:
        """There is no time for a part: what it has reached in earlier calls stays."""
        if self.found[part.name].minutes:
            print(f"{part.name}: goes on in a later call: {why}", flush=True)
        else:
            self.note(part.name, "not run", why)

    def judge(self, part: Part, minutes: float, seconds: float) -> None:
        folder = self.out / part.name
        path = folder / part.results
        path.unlink(missing_ok=True)  # of an earlier call: it says nothing of this one
        command = part.command(folder, minutes)
        print(f"{part.name}: begins, at most {seconds:.0f} s", flush=True)
        one = self.found[part.name]
        one.status, one.why = "unfinished", "the call was ended while it ran"
        code, taken, said = self.program(part.name, command, seconds)
        result, absent = read_result(path)
        missing: list[dict[str, str]] = []
        if code is None:
            status, why = "unfinished", f"ended after {taken:.0f} s"
        else:
            status, why, missing = verdict(code, result, part.sections, absent)
            if status == "failed":
                why = f"{why}; it said: {said}" if said else why
        reached = self.found[part.name].minutes
        if part.minutes and status in ("passed", "partly"):
            reached = minutes
            if minutes < part.minutes - 1e-6 and status == "passed":
                status, why = "partly", f"{minutes:.2g} of {part.minutes:.2g} minutes; goes on with --resume"
        self.note(part.name, status, why, seconds=taken, minutes=reached, tree=self.tree, commit=commit(),
                  wheels=self.wheels, not_run=missing, results=f"{part.name}/part.json")
        self.call["ran"].append(part.name)
        shown = [self.plain(word) for word in command]
        write_whole(folder / "part.json", {
            "part": part.name, "kind": part.kind, "dry": self.given.dry, "status": status, "why": why, "exit": code,
            "seconds": taken, "minutes": reached, "command": shown, "commit": commit(), "tree": self.tree,
            "device": self.device, "not_run": missing, "result": result})
        self.write()

    def plain(self, word: str) -> str:
        """A word of a command without the folders of this machine."""
        named = {"OUT": self.out, "CHECKOUT": ROOT, "PYTHON": Path(sys.executable)}
        named |= {name.upper(): getattr(self.given, name) for name in DATA if getattr(self.given, name) is not None}
        # The longest first: an environment may lie in the checkout, and the output in either.
        for name, path in sorted(named.items(), key=lambda one: -len(str(one[1]))):
            word = word.replace(str(path), name)
        return word


def chosen(parts: Sequence[Part], text: str) -> list[Part]:
    """The parts that were asked for. Raises ValueError for a name that is none."""
    names = [word for word in text.split(",") if word]
    known = {part.name for part in parts} | set(KINDS)
    for name in names:
        if name not in known:
            raise ValueError(f"--parts {name}: expected some of {', '.join(part.name for part in parts)}, or a kind: "
                             + ", ".join(KINDS))
    return [part for part in parts if not names or part.name in names or part.kind in names]


def exit_code(found: Sequence[Found]) -> int:
    """0 where all passed, 1 where one failed, else 3."""
    statuses = {one.status for one in found}
    return 0 if statuses <= {"passed"} else 1 if "failed" in statuses else 3


def show(parts: Sequence[Part]) -> None:
    for part in parts:
        goal = f"{part.minutes:.2g} min and {part.seconds:.0f} s" if part.minutes else f"at most {part.seconds:.0f} s"
        print(f"{part.name:12} {part.kind:10} {goal:24} {'after ' + ', '.join(part.after) + '; ' if part.after else ''}"
              f"{part.missing() or 'has what it needs'}")


def main() -> int:
    given = parser().parse_args()
    try:
        given = completed(given)
        if given.list:
            show(chosen(plan(given, given.out), given.parts))
            return 0
        if given.dry:
            material(given)
        parts = plan(given, given.out)
        asked = chosen(parts, given.parts)
        runner = Runner(given, parts)
    except (ValueError, OSError) as error:
        print(f"everything: {error}", file=sys.stderr)
        return 2
    # What is running is ended, and what was found is written, also where somebody's own time limit comes first.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        if runner.build():
            for part in asked:
                runner.run(part)
        for part in parts:
            if part not in asked and runner.found[part.name].why == WAITING:
                runner.note(part.name, "not run", f"not among --parts {given.parts}")
    finally:
        runner.write()
    counted = [runner.found[part.name] for part in asked]
    if not given.installed:
        counted.append(runner.found[BUILD])
    return exit_code(counted)


if __name__ == "__main__":
    raise SystemExit(main())
