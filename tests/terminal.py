"""A terminal of a given width for a real process, and the screen that is left when it ends."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import unicodedata
from dataclasses import dataclass, field

import pytest

_STEP = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|(.)", re.S)


@dataclass
class Screen:
    """The few things that fastnn's output does to a screen; whatever else comes is an error."""

    width: int
    lines: list[list[str]] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0
    styles: set[str] = field(default_factory=set)

    def feed(self, text: str) -> None:
        for numbers, command, sign in _STEP.findall(text):
            if command == "A":
                self.row -= int(numbers or 1)
                assert self.row >= 0
            elif command == "K":
                assert numbers == "2"
                self.lines[self.row] = []
            elif command == "m":
                self.styles.add(numbers)
            elif command:
                assert numbers == "?25", (numbers, command)  # the cursor hides and comes back
            elif sign == "\r":
                self.column = 0
            elif sign == "\n":
                self.row, self.column = self.row + 1, 0
                self.lines += [[] for _ in range(self.row + 1 - len(self.lines))]
            else:
                self._put(sign)

    def _put(self, sign: str) -> None:
        assert sign.isprintable(), f"{sign!r} reached the terminal"
        line = self.lines[self.row]
        line += " " * (self.column + 1 - len(line))
        line[self.column] = sign
        self.column += 1
        if unicodedata.east_asian_width(sign) in "WF":  # the cell beside it is taken, too
            line[self.column :] = [""]
            self.column += 1
        assert self.column <= self.width, f"longer than {self.width} columns: {''.join(line)!r}"

    def text(self) -> list[str]:
        return ["".join(line).rstrip() for line in self.lines]


def run_in_terminal(
    command: list[str], columns: int, stream: str = "stderr", **environment: str
) -> tuple[Screen, str, str]:
    """Run a command with one stream on a terminal: the screen, what came, and the other stream."""
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    known = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}
    known |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environment}
    other = {"stderr": "stdout", "stdout": "stderr"}[stream]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, env=known,
        **{stream: theirs, other: subprocess.PIPE},
    )  # fmt: skip
    os.close(theirs)
    came = b""
    while True:
        try:
            some = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not some:
            break
        came += some
    rest = process.stdout or process.stderr
    assert rest is not None
    with rest:
        others = rest.read().decode()
    os.close(ours)
    raw = came.decode(known["PYTHONIOENCODING"])
    assert process.wait() == 0, (raw, others)
    screen = Screen(columns)
    screen.feed(raw)
    return screen, raw, others
