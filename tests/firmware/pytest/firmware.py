"""The firmware as a program (native_sim, or the virtual board in QEMU): its console and its shell."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from pathlib import Path

from factory import Line

COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Firmware:
    """One run of the program. The flash file outlives it."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.log = log.open("a")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=os.environ | (environment or {}),
        )
        self.text = ""
        self.changed = threading.Condition()
        # How far the console was searched, and where the last line was typed.
        self.searched = 0
        self.typed = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while chunk := os.read(self.process.stdout.fileno(), 4096):
            text = COLOUR.sub("", chunk.decode(errors="replace"))
            self.log.write(text)
            self.log.flush()
            with self.changed:
                self.text += text
                self.changed.notify_all()

    def wait_for(self, pattern: str, timeout: float = 30) -> re.Match:
        """The next place on the console, after the last one found, that matches."""
        match = self._find(pattern, self.searched, timeout)
        self.searched = match.end()
        return match

    def _find(self, pattern: str, start: int, timeout: float) -> re.Match:
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                if match := re.compile(pattern).search(self.text, start):
                    return match
                left = deadline - time.monotonic()
                ended = self.process.poll()
                if left <= 0 or (ended is not None and not self.changed.wait(0.5)):
                    what = "" if ended is None else f" (the program has ended: {ended})"
                    raise AssertionError(f"{pattern!r} is not on the console{what}:\n{self.text[start:]}")
                # A program that ends says nothing: look again.
                self.changed.wait(min(left, 1))

    def factory_line(self) -> Line:
        """The line of a device that waits for its factory."""
        path = self.factory_line_path()
        self.wait_for("the device is blank")
        return Line(path)

    def factory_line_path(self) -> str:
        """The terminal that is the other end of the factory's line: the newest, after a restart."""
        pattern = r"uart_1 connected to pseudotty: (\S+)"
        self._find(pattern, 0, 30)
        return re.findall(pattern, self.text)[-1]

    def command_line(self, line: str) -> None:
        """Types one line. The console's buffer is small: a long line goes in parts, each after the echo of the last."""
        self._find(r"uart:~\$ ", self.typed, 30)
        self.typed = len(self.text)
        for start in range(0, len(line), 256):
            part = line[start : start + 256]
            self._write(part)
            if len(line) > 256:
                # The shell breaks long lines where the terminal ends.
                echo = r"\s*".join(re.escape(character) for character in part[-16:])
                self.typed = self._find(echo, self.typed, 30).end()
        self._write("\n")

    def _write(self, text: str) -> None:
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def kill(self) -> None:
        """Ends it without a word, as a power cut does."""
        self.process.kill()
        self.process.wait(10)

    def close(self) -> None:
        self.kill()
        self.log.close()
