"""What an operator wants of a device: changes of its configuration, commands, and how far its log has come; signed and
retained at the broker. Once more from docs/protocol.md, docs/configuration.md and docs/security-log.md."""

from __future__ import annotations

import json
import time

from broker import Broker
from factory import Factory, sign
from mqtt import Publisher

# Of a command: a number, and what it takes.
REPORT, REBOOT = [1, []], [3, []]


def burst(samples: int, period_ms: int) -> list:
    return [2, [samples, period_ms]]


def send_log(first: int) -> list:
    return [5, [first]]


class Control:
    """Says what is wanted. Each kind has a certificate of its own at the broker."""

    def __init__(self, broker: Broker, factory: Factory, device: str) -> None:
        self.broker = broker
        self.factory = factory
        self.device = device
        self.publishers: dict[str, Publisher] = {}

    def configure(self, number: int, group: str | None = None, **fields) -> bytes:
        """A change of these fields, for the device or for its group; gives what was published."""
        audience = {"group": group} if group else {"id": self.device}
        payload = json.dumps({"v": 2, "number": number} | audience | fields).encode()
        document = sign(self.factory.keys["configuration"], "application/vnd.sensor.configuration+json", payload)
        topic = f"group/{group}/config/desired" if group else f"device/{self.device}/config/desired"
        self.publish("config", topic, document)
        return document

    def command(self, number: int, action: list, life_s: float = 600) -> bytes:
        """One thing to do, which may be begun for so many seconds."""
        content = {1: [1, self.device], 2: number, 3: int(time.time() + life_s), 4: action}
        document = self.factory.signed("configuration", "command", content)
        self.publish("command", f"device/{self.device}/command", document)
        return document

    def acknowledge(self, number: int, digest: bytes) -> None:
        """The operator has the log up to and with this record."""
        content = {1: [1, self.device], 2: number, 3: digest}
        document = self.factory.signed("configuration", "log-acknowledgement", content)
        self.publish("log", f"device/{self.device}/log/desired", document)

    def publish(self, work: str, topic: str, payload: bytes) -> None:
        """Retained: the device gets it when it comes back, too."""
        if work not in self.publishers:
            name = f"operator.{work}"
            self.publishers[work] = Publisher(self.broker.operator_port, self.broker.operator_folder, name)
        self.publishers[work].publish(topic, payload)

    def close(self) -> None:
        for publisher in self.publishers.values():
            publisher.close()
