"""A second reader of motion fields, slow and plain, written from docs/bitstream.md ("Motion") alone.

It takes one decision at a time and shares no code with duoview.motion_field. ``Refused`` stands for what the
documentation calls an error.
"""

from __future__ import annotations

from collections.abc import Callable

#: A vector is (vertical, horizontal) in half pixels; a field is a list of rows of vectors; (0, 0) does not move.
Vector = tuple[int, int]
Field = list[list[Vector]]
#: The next decision, 0 or 1, of a class.
Decide = Callable[[int], int]

STILL = (0, 0)


class Refused(Exception):
    """What no encoder writes."""


def read(decide: Decide, before: Field) -> Field:
    """The field behind ``before``, by the six steps of the documentation."""
    rows, columns = len(before), len(before[0])
    field = [[STILL] * columns for _ in range(rows)]
    if not decide(178):
        return field
    moves = _moving(decide, before)
    # Step 5: who has an expected vector is known from who moves alone; which one it is, only later.
    same: dict[Vector, bool] = {}
    places = [(y, x) for y in range(rows) for x in range(columns) if moves[y][x]]
    for y, x in places:
        if _has_expected(moves, before, y, x):
            same[y, x] = decide(146) == 1
    differences = _differences(decide, [(place, place in same) for place in places if not same.get(place, False)])
    for y, x in places:
        expected = _expected(field, moves, before, y, x)
        if same.get((y, x), False):
            assert expected is not None
            found = expected
        else:
            near = _median(field, moves, y, x) or expected or STILL
            dy, dx = differences[y, x]
            found = near[0] + dy, near[1] + dx
            if found == expected:
                raise Refused("the expected vector, told as another")
        if found == STILL or max(abs(found[0]), abs(found[1])) > 64:
            raise Refused("a vector out of bounds")
        field[y][x] = found
    return field


def _moving(decide: Decide, before: Field) -> list[list[bool]]:
    """Steps 2 to 4."""
    rows, columns = len(before), len(before[0])
    blocks: dict[tuple[int, int], bool] = {}
    for top in range(0, rows, 4):
        for left in range(0, columns, 4):
            moved = any(before[top + y][left + x] != STILL for y in range(4) for x in range(4))
            blocks[top, left] = decide(180 if moved else 82) == 1
    moves = [[False] * columns for _ in range(rows)]
    for y in range(rows):
        for x in range(columns):
            if blocks[y // 4 * 4, x // 4 * 4] and (y + x) % 2 == 0:
                moves[y][x] = decide(164 if before[y][x] != STILL else 86) == 1
    for y in range(rows):
        for x in range(columns):
            if blocks[y // 4 * 4, x // 4 * 4] and (y + x) % 2 == 1:
                beside = 0
                for v, u in ((y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)):
                    if 0 <= v < rows and 0 <= u < columns and moves[v][u]:
                        beside += 1
                classes = (127, 132, 157, 175, 187) if before[y][x] != STILL else (65, 80, 117, 154, 175)
                moves[y][x] = decide(classes[beside]) == 1
    for (top, left), is_moving in blocks.items():
        if is_moving and not any(moves[top + y][left + x] for y in range(4) for x in range(4)):
            raise Refused("a block without a cell that moves")
    if not any(blocks.values()):
        raise Refused("no block")
    return moves


def _has_expected(moves: list[list[bool]], before: Field, y: int, x: int) -> bool:
    return (x > 0 and moves[y][x - 1]) or (y > 0 and moves[y - 1][x]) or before[y][x] != STILL


def _expected(field: Field, moves: list[list[bool]], before: Field, y: int, x: int) -> Vector | None:
    if x > 0 and moves[y][x - 1]:
        return field[y][x - 1]
    if y > 0 and moves[y - 1][x]:
        return field[y - 1][x]
    return before[y][x] if before[y][x] != STILL else None


def _median(field: Field, moves: list[list[bool]], y: int, x: int) -> Vector | None:
    """Of left, above, and above to the right, where all three move."""
    around = [(y, x - 1), (y - 1, x), (y - 1, x + 1)]
    if not all(v >= 0 and 0 <= u < len(field[0]) and moves[v][u] for v, u in around):
        return None
    three = [field[v][u] for v, u in around]
    return sorted(one[0] for one in three)[1], sorted(one[1] for one in three)[1]


def _differences(decide: Decide, cells: list[tuple[Vector, bool]]) -> dict[Vector, Vector]:
    """Step 6, of cells by their place, and whether a vector is expected there."""
    numbers = [is_expected for _, is_expected in cells for _ in range(2)]
    expected, none = (155, 136, 129, 122, 125, 130, 89, 65), (171, 159, 147, 131, 118, 97, 78, 65)
    lengths = [0] * len(numbers)
    for n in range(8):
        for i, is_expected in enumerate(numbers):
            if lengths[i] >= n and decide((expected if is_expected else none)[n]):
                lengths[i] = n + 1
    magnitudes = [int(length > 0) for length in lengths]
    for n in range(2, 9):
        for i, length in enumerate(lengths):
            if length >= n:
                magnitudes[i] = 2 * magnitudes[i] + decide(127)
    found = [-magnitude if magnitude and decide(127) else magnitude for magnitude in magnitudes]
    return {place: (found[2 * i], found[2 * i + 1]) for i, (place, _) in enumerate(cells)}
