"""A pass over recordings: what is too old or too much goes, and so much more that the disk keeps its reserve."""

from __future__ import annotations

import errno
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from duoview.errors import Error, LimitError

from .archive import Archive, Stored, Tier

#: Texture goes before all else; the machine layer that it belongs to stays.
TEXTURES = (Tier.TEXTURE, Tier.TEXTURE_OF_EVENTS)
#: The order in which tiers go for room on the disk after that. The machine layer of an event is not among them.
FIRST_TO_GO = (Tier.CONTINUOUS, Tier.MOTION, Tier.EVENTS, Tier.MACHINE_ONLY)


class DiskFullError(Error, OSError):
    """The disk has less than its reserve free, and nothing may be removed.

    Attributes: removed: what the pass removed all the same, by ages and sizes.
    """

    def __init__(self, message: str, removed: Removed) -> None:
        super().__init__(message)
        self.removed = removed


@dataclass(frozen=True)
class Limit:
    """How much of a tier is kept: to an age in seconds, to a size in bytes; None for no such limit."""

    age: float | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("age", self.age), ("size", self.size)):
            if value is not None and not value >= 0:
                raise LimitError(f"retention: {name}={value}: expected 0 or more")


@dataclass
class Removed:
    """What a pass removed: segments by tier and by why (age, size, disk), and bytes.

    In tiers of texture: segments that lost it. failures: of archives that could not be read, of which nothing was
    removed, and of segments that keep their texture since they are damaged. unfinished: the pass ended before all was
    done that it had to do; the next one goes on.
    """

    segments: dict[tuple[Tier, str], int] = field(default_factory=lambda: defaultdict(int))
    bytes: int = 0
    failures: list[Error | OSError] = field(default_factory=list)
    unfinished: bool = False


class Retention:
    """Limits for the recordings of one folder; passive, one pass a call."""

    def __init__(
        self,
        folder: Path,
        limits: Mapping[Tier, Limit],
        *,
        reserve: int = 0,
        rewritten: int = 256 << 20,
        free: Callable[[Path], int] | None = None,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """`reserve`: bytes to keep free on the folder's disk. `rewritten`: bytes of files that a pass writes anew.

        It ends with the first file beyond so many, however much is left to do.
        `free` tells the free bytes, `now` the microseconds since 1970; both for tests.
        """
        self.folder, self.limits, self.reserve = folder, dict(limits), reserve
        self._free = free or (lambda path: shutil.disk_usage(path).free)
        self._now = now
        self._rewritten = rewritten
        self._left = 0  # of those bytes, in the pass under way
        self._stop: Callable[[], bool] = lambda: False

    def run(
        self, archives: Sequence[Archive], *, delete_for_room: bool = True, stop: Callable[[], bool] = lambda: False
    ) -> Removed:
        """One pass. Raises OSError where a file cannot be removed, and DiskFullError when the reserve cannot be had.

        An archive that cannot be read is left alone and told of in `failures`; the others are seen to all the same.
        Without `delete_for_room` a lack of it removes nothing and raises at once, after ages and sizes were seen to.
        `stop` is asked before each archive that is read, and each file that is written anew, and ends the pass.
        """
        removed = Removed()
        self._left, self._stop = self._rewritten, stop
        found: list[Stored] = []
        for archive in archives:
            if stop():
                removed.unfinished = True
                return removed  # what is known is not all: nothing may go for it
            try:
                archive.refresh()
                found += archive.stored()
            except (Error, OSError) as error:
                removed.failures.append(error)
        stored = sorted(found, key=lambda one: one.end)
        tiers: dict[Tier, list[Stored]] = {tier: [] for tier in Tier}
        for one in stored:
            tiers[one.tier].append(one)
        for tier, limit in self.limits.items():
            if limit.age is not None:
                oldest = self._now() - round(limit.age * 1e6)
                self._remove(tiers[tier], sum(one.end < oldest for one in tiers[tier]), "age", removed)
            if limit.size is not None:
                over, count = sum(one.bytes for one in tiers[tier]) - limit.size, 0
                while over > 0:
                    over, count = over - tiers[tier][count].bytes, count + 1
                self._remove(tiers[tier], count, "size", removed)
        try:
            self._make_room(tiers, removed, delete_for_room)
        finally:
            self._compact(archives, removed)
        return removed

    def _compact(self, archives: Sequence[Archive], removed: Removed) -> None:
        for archive in archives:
            if not archive.read:
                continue
            if self._stop():
                break
            try:
                archive.compact()
            except (Error, OSError) as error:
                removed.failures.append(error)

    def _make_room(self, tiers: dict[Tier, list[Stored]], removed: Removed, delete: bool) -> None:
        # The lack is looked at once a pass: file systems that free late would show it still, until nothing is left.
        lacking = self.reserve - self._free(self.folder)
        if delete and removed.unfinished and lacking > 0:
            return
        for texture in TEXTURES:
            while delete and lacking > 0 and tiers[texture]:
                lacking -= self._drop_textures(tiers[texture], 1, "disk", removed)
                if removed.unfinished:
                    return  # what is worth more stays until all texture is gone
        while lacking > 0:
            tier = self._next_to_go(tiers, delete, removed)
            if tier is None:
                return
            count = 0
            while lacking > 0 and count < len(tiers[tier]):
                lacking, count = lacking - tiers[tier][count].bytes, count + 1
            self._remove(tiers[tier], count, "disk", removed)
            if lacking > 0 or self._free(self.folder) >= self.reserve:
                continue
            if tier := self._next_to_go(tiers, delete, removed):
                self._remove(tiers[tier], 1, "disk", removed)  # notes of what went take room themselves

    def _next_to_go(self, tiers: dict[Tier, list[Stored]], delete: bool, removed: Removed) -> Tier | None:
        """The tier to take from; None where there is room after all. DiskFullError when nothing may go."""
        tier = next((tier for tier in FIRST_TO_GO if tiers[tier]), None)
        if delete and tier is not None:
            return tier
        free = self._free(self.folder)
        if free >= self.reserve:
            return None
        left = "the policy removes nothing for it" if not delete else (
            "only the machine layer of events is left, which is not removed for room")
        raise DiskFullError(f"{self.folder}: {free} bytes free, the reserve is {self.reserve}; {left}; free space, "
                            "lower storage.reserve, or set ages and sizes under storage.retention", removed)

    def _drop_textures(self, stored: list[Stored], count: int, why: str, removed: Removed) -> int:
        """Write the first of a tier anew without their texture; returns the bytes that this gained.

        Without room for the new file a segment keeps its texture: what goes next in the order makes that room. As many
        are seen to as this pass may write anew.
        """
        taken = stored[:count]
        del stored[:count]
        gained = 0
        for one in taken:
            if self._left <= 0 or self._stop():
                removed.unfinished = True
                return gained
            whole = one.archive.size_of(one.segment)
            self._left -= whole
            try:
                size = one.archive.drop_texture(one.segment)
            except (Error, OSError) as error:
                self._left += whole  # else passes that fail at the same files would never come to the others
                if not isinstance(error, OSError) or error.errno != errno.ENOSPC:
                    removed.failures.append(error)
                continue
            if size > 0:
                gained += size
                removed.bytes += size
                removed.segments[one.tier, why] += 1
        return gained

    def _remove(self, stored: list[Stored], count: int, why: str, removed: Removed) -> None:
        """Remove the first of a tier, which are its oldest."""
        if stored and stored[0].tier in TEXTURES:
            self._drop_textures(stored, count, why, removed)
            return
        taken = stored[:count]
        del stored[:count]
        by_archive: dict[int, list[Stored]] = defaultdict(list)
        for one in taken:
            by_archive[id(one.archive)].append(one)
        for group in by_archive.values():
            removed.bytes += group[0].archive.remove([one.segment for one in group], why)
            removed.segments[group[0].tier, why] += len(group)
