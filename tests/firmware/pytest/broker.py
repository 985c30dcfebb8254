"""Mosquitto with the project's own configuration, and an operator who listens."""

from __future__ import annotations

import json
import os
import queue
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

from authority import Authority, Identity

BROKERS = Path(__file__).resolve().parents[3] / "brokers" / "mosquitto"
# Who speaks for the operator; brokers/mosquitto/acl says who may write what.
OPERATORS = ("operator", *(f"operator.{work}" for work in ("command", "config", "firmware", "log")))


def program(name: str, package: str) -> str:
    """The path of a program; what to install where it is missing."""
    for folder in (os.environ.get("PATH", "").split(os.pathsep)) + ["/usr/sbin"]:
        if found := shutil.which(name, path=folder):
            return found
    raise RuntimeError(f"{name} is missing: apt-get install {package}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """Two listeners of one Mosquitto: one with the certificate that the device is to judge, one for the operator."""

    def __init__(self, folder: Path, authority: Authority, server: Identity, clients: Authority | None = None, address: str = "127.0.0.1") -> None:
        folder.mkdir()
        self.address = address
        self.port = free_port()
        self.operator_port = free_port()
        (clients or authority).identity.write(folder, "roots")
        server.write(folder, "server")
        self.operator_folder = folder / "operator"
        self.operator_folder.mkdir()
        own = Authority("operator's authority")
        own.identity.write(self.operator_folder, "roots")
        own.server().write(self.operator_folder, "server")
        for name in OPERATORS:
            own.client(name).write(self.operator_folder, name)
        shutil.copy(BROKERS / "acl", folder / "acl")
        (folder / "mosquitto.conf").write_text(self._configuration())
        self.folder = folder
        self.log = (folder / "mosquitto.log").open("w")
        self.resume()

    def resume(self) -> None:
        """Starts it; what it has kept in its folder is there again."""
        self.process = subprocess.Popen(
            [program("mosquitto", "mosquitto"), "-v", "-c", "mosquitto.conf"],
            cwd=self.folder,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self._wait_until_it_listens(self.folder)

    def suspend(self) -> None:
        """Stops it: every connection breaks."""
        self.process.terminate()
        self.process.wait(10)

    def wait_for_log(self, text: str, timeout: float = 30) -> None:
        """Waits until Mosquitto says `text`."""
        deadline = time.monotonic() + timeout
        while text not in (self.folder / "mosquitto.log").read_text():
            assert time.monotonic() < deadline, f"mosquitto does not say {text!r}"
            time.sleep(0.1)

    def log_of_device(self) -> str:
        """What Mosquitto says of the port that the device connects to."""
        lines = (self.folder / "mosquitto.log").read_text().splitlines()
        return "\n".join(line for line in lines if f"on port {self.port}." in line)

    def _configuration(self) -> str:
        text = (BROKERS / "mosquitto.conf").read_text()
        documented = "listener 8883\n"
        assert documented in text
        lines = text.replace(documented, f"listener {self.port} {self.address}\n")
        # Mosquitto gives up root's rights, and with them the right to read the test's folder.
        user = "user root\n" if os.geteuid() == 0 else ""
        return user + lines + (
            f"listener {self.operator_port} 127.0.0.1\n"
            "cafile operator/roots.crt\ncertfile operator/server.crt\nkeyfile operator/server.key\n"
            "require_certificate true\nuse_identity_as_username true\n"
        )

    def _wait_until_it_listens(self, folder: Path) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.operator_port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("mosquitto does not listen:\n" + (folder / "mosquitto.log").read_text())

    def close(self) -> None:
        self.suspend()
        self.log.close()


class Operator:
    """Everything that devices say, as it comes."""

    def __init__(self, broker: Broker) -> None:
        folder = broker.operator_folder
        self.options = [
            "-h", "localhost", "-p", str(broker.operator_port), "-q", "1",
            "--cafile", str(folder / "roots.crt"), "--cert", str(folder / "operator.crt"),
            "--key", str(folder / "operator.key"),
        ]
        self.process = subprocess.Popen(
            [
                program("mosquitto_sub", "mosquitto-clients"), *self.options,
                # Not every message is text.
                "-i", "operator", "-F", "%t %x", "-t", "device/#",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.hellos: list[dict] = []
        # Everything, in the order in which it came.
        self.history: list[tuple[str, bytes]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def publish(self, topic: str, payload: bytes) -> None:
        subprocess.run(
            [program("mosquitto_pub", "mosquitto-clients"), *self.options, "-i", "sender", "-t", topic, "-s"],
            input=payload, check=True, timeout=10,
        )

    def _read(self) -> None:
        for line in self.process.stdout:
            topic, _, payload = line.rstrip("\n").partition(" ")
            try:
                message = bytes.fromhex(payload)
            except ValueError:
                # What mosquitto_sub says for itself.
                message = payload.encode()
            self.history.append((topic, message))
            self.lines.put((topic, message))

    def said(self, topic: str) -> list[bytes]:
        """Everything that has come on `topic`."""
        return [message for on, message in list(self.history) if on == topic]

    def wait_for(self, topic: str, matches=lambda message: True, timeout: float = 30) -> dict:
        """The next message on `topic` for which `matches` is true; what comes before it is dropped."""
        deadline = time.monotonic() + timeout
        seen = []
        while (left := deadline - time.monotonic()) > 0:
            try:
                got, payload = self.lines.get(timeout=left)
            except queue.Empty:
                break
            seen.append(f"{got} {payload.decode(errors='replace')}\n")
            if got.endswith("/hello"):
                self.hellos.append(json.loads(payload))
            if got == topic and matches(message := json.loads(payload)):
                return message
        raise AssertionError(f"no such message on {topic} within {timeout} s; there was:\n" + "".join(seen))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
