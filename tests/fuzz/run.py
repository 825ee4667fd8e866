"""Runs fuzz targets for a while: ``python tests/fuzz/run.py BUILD --seconds 60`` (``make fuzz`` builds them first).

What the fuzzer finds interesting grows a corpus in BUILD/corpus, from which the next run goes on; an input that fails
is kept in BUILD/crashes. Exits with 1 when there is one.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SEEDS = Path(__file__).resolve().parent / "corpus"
LONGEST = 4096
"""Bytes of an input: longer ones cost time and reach nothing that these do not."""


@dataclass(frozen=True)
class Outcome:
    """One target's run. executions: inputs tried; edges: of the control flow, covered; crash: the input, if any."""

    target: str
    ok: bool
    executions: int
    edges: int
    crash: Path | None
    log: Path


def run(program: Path, build: Path, seconds: int) -> Outcome:
    """Fuzz one target for ``seconds``, seeds first."""
    target = program.name
    grown, crashes, seeds = build / "corpus" / target, build / "crashes", SEEDS / target
    grown.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(exist_ok=True)
    if not any(seeds.glob("*")):
        raise SystemExit(f"{target} has no seeds in {seeds}: add them to make_corpus.py")
    command = [str(program), f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=20", "-rss_limit_mb=1024",
               "-print_final_stats=1", f"-artifact_prefix={crashes}/{target}-", str(grown), str(seeds)]
    log = build / f"{target}.log"
    with log.open("wb") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    text = log.read_text(errors="replace")
    executions = re.findall(r"stat::number_of_executed_units:\s*(\d+)", text)
    edges = re.findall(r"cov: (\d+)", text)
    kept = re.findall(r"Test unit written to (.+)", text)
    return Outcome(target, code == 0 and bool(executions), int(executions[-1]) if executions else 0,
                   int(edges[-1]) if edges else 0, Path(kept[0]) if kept else None, log)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path, help="CMake's build folder")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--jobs", type=int, default=2, help="targets at once")
    parser.add_argument("--target", action="append", help="only this one; may be given again")
    options = parser.parse_args()
    if options.seconds < 1:
        parser.error(f"--seconds is {options.seconds}; at least 1 is needed (0 would never end)")
    programs = {path.name: path for path in sorted((options.build / "fuzzers").iterdir())}
    for name in options.target or []:
        if name not in programs:
            parser.error(f"--target is {name}; there are {', '.join(programs)}")
    chosen = [programs[name] for name in options.target or programs]
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(lambda program: run(program, options.build, options.seconds), chosen))
    for outcome in outcomes:
        print(f"fuzz {outcome.target}: {'ok' if outcome.ok else 'FAILED'}, {outcome.executions} inputs in "
              f"{options.seconds} s, {outcome.edges} edges")
        if not outcome.ok:
            print("\n".join(outcome.log.read_text(errors="replace").splitlines()[-60:]))
            print(f"the input: {outcome.crash or 'none was kept'}; "
                  f"again with {options.build}/fuzzers/{outcome.target} FILE")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
