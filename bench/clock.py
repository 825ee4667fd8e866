"""Wall and CPU time of calls that take turns, so that a busy moment of the machine meets them all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

BATCH_SECONDS = 0.02
"""A call is repeated within its turn until it ran this long: its own caches are warm then, as they are in use."""
MOST_IN_BATCH = 8


@dataclass
class Times:
    """Seconds of each call: by the wall, and of the process on all its threads."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def median_wall(self) -> float:
        return median(self.wall)

    def median_cpu(self) -> float:
        return median(self.cpu)


def once(call: Callable[[], object], times: Times) -> float:
    """Call and note; the seconds by the wall."""
    cpu, wall = time.process_time(), time.perf_counter()
    kept = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    del kept  # freed outside of the measured time: what is done with a result is the caller's
    times.wall.append(wall)
    times.cpu.append(cpu)
    return wall


def take_turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """Times of every call over ``rounds`` rounds. The first call of a turn warms up and is not counted."""
    times = {name: Times() for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            spent = 0.0
            first = once(call, Times())
            if first > 10 * BATCH_SECONDS:  # nothing to warm up in a call that goes through all caches by itself
                once(call, times[name])
                continue
            for _ in range(MOST_IN_BATCH):
                spent += once(call, times[name])
                if spent > BATCH_SECONDS:
                    break
    return times
