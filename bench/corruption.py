"""A thousand random damages to a file: no crash, no hang, bounded memory, and decoding resumes at the next key frame.

    python -m bench.corruption [--cases 1000] [--formats nut mov ...] [--out bench/results/corruption.json]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.damage import CaseError, Clip, Verdict, run_cases
from bench.result import RESULTS, measured, write
from duoview import Profile


@dataclass(frozen=True)
class Settings:
    """The clip; cases per format; seed; seconds after which a case counts as hung."""

    clip: Clip
    formats: tuple[str, ...]
    cases: int
    seed: int
    bound: float


@dataclass(frozen=True)
class Summary:
    """All cases of one format. unreadable: files that gave a named error, by its class.

    intact_keys: key units whose bytes the damage left whole, over all cases; found_keys: those that the container gave
    to the decoder; exact_keys: those that decoded to the very picture. growth_mib: of memory, over all cases.
    """

    format: str
    cases: int
    failure: str
    unreadable: int
    error_classes: tuple[str, ...]
    exact_pictures: int
    concealed_pictures: int
    wrong_pictures: int
    intact_keys: int
    found_keys: int
    exact_keys: int
    slowest_seconds: float
    growth_mib: float

    @property
    def passed(self) -> bool:
        """No crash, no hang, no wrong picture unmarked, and every key unit that was found decoded exactly."""
        return not self.failure and not self.wrong_pictures and self.found_keys == self.exact_keys


@dataclass(frozen=True)
class Results:
    """One summary per format."""

    formats: tuple[Summary, ...]


def summarise(name: str, verdicts: Sequence[Verdict]) -> Summary:
    """Add the cases up; the first verdict is the undamaged file's."""
    first, *rest = verdicts
    if first.wrong or first.error or first.exact != first.units:
        raise AssertionError(f"the undamaged {name} file did not decode: {first}")
    errors = tuple(sorted({verdict.error.split(":")[0] for verdict in rest if verdict.error}))
    return Summary(
        format=name, cases=len(rest), failure="", unreadable=sum(bool(v.error) for v in rest), error_classes=errors,
        exact_pictures=sum(v.exact for v in rest), concealed_pictures=sum(v.concealed for v in rest),
        wrong_pictures=sum(v.wrong for v in rest), intact_keys=sum(v.intact_keys for v in rest),
        found_keys=sum(v.delivered_keys for v in rest), exact_keys=sum(v.exact_keys for v in rest),
        slowest_seconds=max(v.seconds for v in rest), growth_mib=rest[-1].peak_mib - first.peak_mib)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; exit code 1 when a format failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.corruption", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="s", help="bundled name or folder")
    parser.add_argument("--cases", type=int, default=1000, help="cases of each format")
    parser.add_argument("--formats", nargs="+", default=["nut"], help="nut, mov, avi, mp4, mpegts, dv")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "corruption.json")
    options = parser.parse_args(arguments)
    settings = Settings(Clip(), tuple(options.formats), options.cases, options.seed, 30.0)
    summaries = []
    for name in options.formats:
        try:
            verdicts = run_cases(options.cases, clip=Clip(format=name), profile=options.profile, seed=options.seed,
                                 bound=settings.bound)
            summary = summarise(name, verdicts)
        except CaseError as failure:
            summary = Summary(name, options.cases, str(failure), 0, (), 0, 0, 0, 0, 0, 0, 0.0, 0.0)
        summaries.append(summary)
        print(f"{name}: {'passed' if summary.passed else 'FAILED'} {summary}")
    write(options.out, measured("Random damage to whole files (flip, cut, truncate, splice, zero)",
                                Profile(options.profile), settings, Results(tuple(summaries))))
    return 0 if all(summary.passed for summary in summaries) else 1


if __name__ == "__main__":
    sys.exit(main())
