"""Writes the golden streams of the entropy coder: ``python tests/golden/make_rans.py`` (anywhere, duoview installed).

Run it only when the stream format is meant to change; tests/test_rans_golden.py then shows what changed. The input is
made by plain integer arithmetic, so that it is the same everywhere and for ever.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duoview.kernels import rans

HERE = Path(__file__).resolve().parent
CASES = {"empty": 0, "single": 1, "small": 150, "medium": 4000}
CHUNK = 1024
"""Coded symbols a chunk of the golden stream that has several."""


def mixed(count: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Symbols and classes of all kinds, escapes up to the int16 extremes among them, by a linear congruence."""
    state = 12345
    symbols, classes = [], []
    for i in range(count):
        state = (1664525 * state + 1013904223) % 2**32
        k = (state >> 8) % 192
        noise = state >> 24
        if k == 0:
            symbol = 0
        elif k >= 64:
            symbol = int(noise // 2 <= k - 64)
        elif i % 50 == 7:
            symbol = (-32768, 32767, 200, -129, 1000)[(i // 50) % 5]
        else:
            symbol = (noise - 128) * k * k // 60000
        symbols.append(symbol)
        classes.append(k)
    return np.array(symbols, np.int16), np.array(classes, np.uint8)


def every_escape() -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Escapes of all lengths, of both signs, in classes without any table of magnitudes and with the longest one."""
    symbols, classes = [], []
    for k in (1, 20, 63):
        width = (len(rans.frequencies(k)) - 2) // 2
        for n in range(16):
            for excess in (1 << n, (2 << n) - 1):
                for symbol in (width + excess, -width - excess):
                    if -32768 <= symbol <= 32767:
                        symbols.append(symbol)
                        classes.append(k)
    return np.array(symbols, np.int16), np.array(classes, np.uint8)


def short(first_bytes: range) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """The first of the short inputs whose one state is written in the form that begins with one of these bytes."""
    for count in range(1, 400):
        symbols, classes = mixed(count)
        data = rans.encode(symbols, classes, lanes=1, path="scalar")
        if data and data[0] in first_bytes:
            return symbols, classes
    raise ValueError(f"no input begins with {first_bytes}")


#: Inputs beside those of CASES, coded with one lane.
OTHERS = {
    "escapes": every_escape,
    "state_23": lambda: short(range(0x80)),
    "state_30": lambda: short(range(0x80, 0xC0)),
    "state_32": lambda: short(range(0xC0, 0xC1)),
}


def main() -> None:
    index: dict[str, object] = {"tables": rans.tables_digest()}
    for name, count in CASES.items():
        symbols, classes = mixed(count)
        for lanes in rans.LANES:
            data = rans.encode(symbols, classes, lanes=lanes, path="scalar")
            (HERE / f"rans_{name}_{lanes}.bin").write_bytes(data)
    for name, make in OTHERS.items():
        (HERE / f"rans_{name}.bin").write_bytes(rans.encode(*make(), lanes=1, path="scalar"))
    for lanes in rans.LANES:
        data = rans.encode(*mixed(CASES["medium"]), lanes=lanes, chunk=CHUNK, path="scalar")
        (HERE / f"rans_chunks_{lanes}.bin").write_bytes(data)
    (HERE / "rans.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
