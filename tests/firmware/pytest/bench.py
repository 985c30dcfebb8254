"""What a test needs around the firmware. Each test has its own authority, broker, time server and flash."""

from __future__ import annotations

import json
from pathlib import Path

from authority import FAR_AHEAD, Authority, Identity
from broker import Broker, Operator
from control import Control
from cryptography.hazmat.primitives.asymmetric import ec
from factory import Factory, Line
from firmware import Firmware
from time_server import TimeServer

DEVICE, GROUP = "dev-1", "field-a"


class Bench:
    """A device, a broker, an operator and a time server on loopback."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.authority = Authority()
        self.factory = Factory(folder)
        self.identity_key: ec.EllipticCurvePublicKey | None = None
        self.opened = []
        # What the program finds in its environment beside ours.
        self.environment: dict[str, str] = {}
        self.broker: Broker | None = None
        self.operator: Operator | None = None
        self.time_server: TimeServer | None = None

    def has(self, line: str) -> bool:
        """True where the build's configuration has this line."""
        return line in (self.program.parent / ".config").read_text().splitlines()

    def keep(self, thing):
        """Closes `thing` when the test is over."""
        self.opened.append(thing)
        return thing

    def start_broker(
        self, server: Identity | None = None, clients: Authority | None = None, address: str = "127.0.0.1"
    ) -> Operator:
        """`server` is what the device sees, at this address; `clients` is whose certificates the broker takes."""
        self.broker = self.keep(
            Broker(self.folder / "broker", self.authority, server or self.authority.server(), clients, address)
        )
        return self.start_operator()

    def start_operator(self) -> Operator:
        """In place of the former one: the broker takes one at a time under this name, and both would come back for ever."""
        if self.operator:
            self.operator.close()
        self.operator = self.keep(Operator(self.broker))
        return self.operator

    def start_control(self) -> Control:
        """What the operator wants of the device, from now on."""
        return self.keep(Control(self.broker, self.factory, DEVICE))

    def start_time_server(self, offset_s: float = 0) -> TimeServer:
        self.time_server = self.keep(TimeServer(offset_s))
        return self.time_server

    def configuration(self, **changes) -> bytes:
        document = {
            "v": 1, "number": 7, "id": DEVICE, "host": "localhost", "port": self.broker.port if self.broker else 0, "keep_alive_s": 30,
            "auth": "certificate",
            "time_servers": [f"127.0.0.1:{self.time_server.port}"],
            "sample_period_ms": 200, "report_period_ms": 400,
            "update_start_min": 0, "update_length_min": 1440, "update_deadline_h": 168, "update_spread_s": 0,
        }
        return json.dumps(document | changes).encode()

    def run(self, *arguments: str) -> Firmware:
        """Starts the program on the flash as it is."""
        key = f"--factory-key={self.factory.public_file}"
        command = [
            str(self.program), f"--flash={self.folder / 'flash.bin'}", "--seed-random", "--uart_stdinout", key, *arguments
        ]
        return self.keep(Firmware(command, self.folder / "console.log", self.environment))

    def open_line(self, firmware: Firmware) -> Line:
        """The line of a device that waits for its factory."""
        return firmware.factory_line()

    def enrol(self, *arguments: str, root: Authority | None = None, end=FAR_AHEAD, **changes) -> Firmware:
        """Provisions a blank device over its factory's line; it restarts into its service. Its certificate ends at `end`."""
        firmware = self.run(*arguments)
        line = self.keep(self.open_line(firmware))
        self.identity_key = self.factory.provision(
            line, DEVICE, GROUP, self.configuration(**changes), self.authority, [root or self.authority], end
        )
        firmware.wait_for("boot 1, configuration 7")
        return firmware

    def close(self) -> None:
        for thing in reversed(self.opened):
            thing.close()
