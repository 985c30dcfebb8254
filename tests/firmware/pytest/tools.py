"""The project's own tools beside the firmware: sensorctl, and the broker with a door for tokens."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

CRATES = Path(__file__).resolve().parents[3] / "crates"


def tool(name: str) -> str:
    """The path of a program of the workspace; how to build it where it is missing."""
    named = os.environ.get("SENSOR_PROGRAMS")
    found = Path(named) / name if named else CRATES / "target" / "debug" / name
    assert found.is_file(), f"{found} is missing: cargo build --bins (in crates/), or set SENSOR_PROGRAMS"
    return str(found)


class Background:
    """A program that runs until it is closed; what it says goes to a file."""

    def __init__(self, log: Path, *command: str) -> None:
        self.log = log
        self.process = subprocess.Popen(
            command, stdout=log.open("wb"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )

    def wait_for(self, pattern: str, timeout: float = 30) -> re.Match:
        deadline = time.monotonic() + timeout
        while not (found := re.search(pattern, self.log.read_text())):
            assert self.process.poll() is None and time.monotonic() < deadline, (
                f"{pattern!r} was not said:\n{self.log.read_text()}"
            )
            time.sleep(0.05)
        return found

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


class Operations:
    """A certificate authority, the powers, the registry, and a broker: what a factory and an operator have."""

    def __init__(self, folder: Path, keep) -> None:
        self.folder = folder
        self.keep = keep
        self.ca, self.powers, self.registry = (folder / name for name in ("ca", "powers", "registry.jsonl"))
        self.sensorctl("ca", "init", "--out", self.ca, "--host", "localhost")
        self.sensorctl("authority", "init", "--out", self.powers)
        self.registry.touch()
        broker = Background(
            folder / "broker.log", tool("simulator"), "broker", "--ca", str(self.ca), "--registry", str(self.registry)
        )
        ports = keep(broker).wait_for(r"ready broker port=(\d+) token_port=(\d+)")
        self.port, self.token_port = int(ports[1]), int(ports[2])
        self.broker = broker

    def sensorctl(self, *arguments, code: int = 0) -> str:
        """What it says; it must end with this code."""
        done = subprocess.run(
            [tool("sensorctl"), *map(str, arguments)], capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == code, f"{arguments}: {done.returncode} {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def provision(self, line: str, device: str, time_port: int, *more) -> str:
        port = self.token_port if "token" in more else self.port
        return self.sensorctl(
            "provision", "--ca", self.ca, "--authority", self.powers, "--registry", self.registry, "--line", line,
            "--id", device, "--host", "localhost", "--port", port, "--time-server", f"127.0.0.1:{time_port}",
            "--sample-period-ms", 200, "--report-period-ms", 400, *more,
        )

    def renew(self) -> Background:
        return self.keep(Background(
            self.folder / "renew.log", tool("sensorctl"), "renew", "--ca", str(self.ca), "--authority",
            str(self.powers), "--registry", str(self.registry), "--port", str(self.port),
        ))

    def follow_log(self, store: Path) -> Background:
        """Takes the logs of all devices, and acknowledges them; says each record as JSON."""
        return self.keep(Background(
            self.folder / "follow.log", tool("sensorctl"), "log", "follow", "--ca", str(self.ca), "--authority",
            str(self.powers), "--registry", str(self.registry), "--port", str(self.port), "--store", str(store),
            "--format", "json",
        ))

    def command(self, kind: str, device: str, *more) -> str:
        """Waits for the device's answer."""
        return self.sensorctl(
            "command", kind, "--authority", self.powers, "--id", device, "--ca", self.ca, "--port", self.port, *more
        )

    def decommission(self, device: str, end: str) -> str:
        return self.command("decommission", device, "--end", end, "--registry", self.registry, "--yes")
