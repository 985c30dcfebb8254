"""The life of an identity: made on the factory's line, used, replaced, and wiped, with the project's own tools.
R-PROVISION, R-TLS-CLIENT, R-SECRET-ROTATE, R-REPROVISION, R-DESTROY."""

from __future__ import annotations

import json

import pytest
from bench import DEVICE
from factory import Line, key_id
from tools import Operations

# boards/native_sim_native_64.overlay
VAULT_BEGIN, VAULT_END = 0xFE000, 0xFE000 + 0x9000
IN_FORCE = r"the new identity ([0-9a-f]{16}) is in force"


class Life:
    """A device and the tools."""

    def __init__(self, bench) -> None:
        self.bench = bench
        bench.start_time_server()
        self.operations = Operations(bench.folder, bench.keep)
        bench.factory.public_file = self.operations.powers / "factory.pub"

    def run(self, *arguments: str):
        return self.bench.run(*arguments)

    def provision(self, firmware, *more) -> str:
        path = firmware.factory_line_path()
        firmware.wait_for("the device is blank")
        return self.operations.provision(path, DEVICE, self.bench.time_server.port, *more)

    def flash(self) -> bytes:
        return (self.bench.folder / "flash.bin").read_bytes()

    def vault(self) -> bytes:
        return self.flash()[VAULT_BEGIN:VAULT_END]

    def registered(self) -> list[dict]:
        return [json.loads(line) for line in self.operations.registry.read_text().splitlines()]


@pytest.fixture
def life(bench):
    return Life(bench)


def test_the_factorys_keys_are_replaced_with_a_power_cut_in_the_middle(life):
    firmware = life.run()
    assert "1 of 1 done" in life.provision(firmware)
    firmware.wait_for("connected to the service")
    firmware.wait_for("keys of a new identity are made")
    firmware.kill()
    factory = life.registered()[0]["key_id"]

    life.operations.renew().wait_for("listening")
    firmware = life.run()
    new = firmware.wait_for(IN_FORCE, timeout=60)[1]
    assert not factory.startswith(new)
    registered = [line["key_id"][:16] for line in life.registered()]
    assert registered == [factory[:16], new]

    # What is in force stays so, and the one before it is kept for a day.
    firmware.kill()
    firmware = life.run()
    life.operations.command("rotate", DEVICE)
    newest = firmware.wait_for(IN_FORCE, timeout=60)[1]
    assert newest not in registered


def test_a_device_logs_in_with_tokens_and_replaces_its_identity_so(life):
    life.operations.renew().wait_for("listening")
    firmware = life.run()
    life.provision(firmware, "--auth", "token")
    firmware.wait_for("connected to the service")
    firmware.wait_for(IN_FORCE, timeout=60)
    # A token is three parts in base64url, the first of which says that it is one.
    assert "eyJ" not in firmware.text
    assert "eyJ" not in life.operations.broker.log.read_text()


def test_a_provisioned_device_says_who_it_is_and_takes_nothing_from_its_line(life):
    firmware = life.run()
    life.provision(firmware)
    firmware.wait_for("connected to the service")
    line = life.bench.keep(Line(firmware.factory_line_path()))
    number, identity = line.ask([1, {1: 1}])
    assert (number, identity[2]) == (1, 2)
    assert identity[7].hex() == life.registered()[0]["key_id"]
    for message in ([2, {1: "other"}], [4, {1: 0, 2: b"x"}], [5, {1: 1}]):
        number, refused = line.ask(message)
        assert (number, refused[1][0]) == (5, 3), "it is locked"


def test_another_factory_cannot_provision_it(life):
    firmware = life.run()
    line = life.bench.keep(firmware.factory_line())
    _, identity = line.ask([1, {1: 1}])
    foreign = life.bench.factory
    assert identity[6] != key_id(foreign.keys["factory"].public_key())
    number, requests = line.ask([2, {1: DEVICE}])
    assert number == 2
    document = foreign.signed("factory", "provision", {1: [1, DEVICE], 2: requests[1]})
    assert line.ask([4, {1: 0, 2: document}])[0] == 3
    number, refused = line.ask([5, {1: len(document)}])
    assert (number, refused[1][0]) == (5, 8), refused
    assert refused[1][1][1] == "unknown_key"


def test_a_wiped_device_is_blank_holds_nothing_and_is_provisioned_again(life):
    store = life.bench.folder / "logs"
    log = life.operations.follow_log(store)
    firmware = life.run()
    life.provision(firmware)
    firmware.wait_for("connected to the service")
    # By then it listens to commands.
    firmware.wait_for("keys of a new identity are made")
    before = life.vault()
    pieces = [before[at : at + 32] for at in range(0, len(before), 32)]
    secrets = [piece for piece in pieces if piece.strip(b"\xff") and piece.strip(b"\0")]
    assert len(secrets) >= 4, "two sealed keys were there"

    life.operations.decommission(DEVICE, "blank")
    firmware.wait_for("the secrets are wiped: the device is blank")
    # It waits for its factory again, and by then everything is gone.
    firmware.wait_for("the device is blank and waits")
    assert life.vault() == b"\xff" * len(before)
    left = life.flash()
    assert not [piece for piece in secrets if piece in left]

    life.operations.sensorctl(
        "revoke", "--ca", life.operations.ca, "--registry", life.operations.registry, "--id", DEVICE
    )
    path = firmware.factory_line_path()
    life.operations.provision(path, DEVICE, life.bench.time_server.port)
    firmware.wait_for("connected to the service")
    first, *_, last = life.registered()
    assert first["id"] == last["id"] and first["key_id"] != last["key_id"]
    # The log is no secret: it goes on through both lives.
    log.wait_for(r'"event":"retired".*(?s:.*)"event":"provisioned"')
    said = life.operations.sensorctl("log", "verify", "--registry", life.operations.registry, store)
    assert "whole and proven" in said


def test_a_destroyed_device_never_works_again(life):
    firmware = life.run()
    life.provision(firmware)
    firmware.wait_for("connected to the service")
    # By then it listens to commands.
    firmware.wait_for("keys of a new identity are made")
    life.operations.decommission(DEVICE, "destroyed")
    firmware.wait_for("the secrets are wiped: the device is destroyed")
    firmware.wait_for("the device was destroyed: it never works again")
    assert set(life.vault()) == {0xFF}
    firmware.kill()
    firmware = life.run()
    firmware.wait_for("the device was destroyed: it never works again")
    line = life.bench.keep(Line(firmware.factory_line_path()))
    assert line.ask([1, {1: 1}])[1][2] == 3
    assert line.ask([2, {1: DEVICE}])[1][1][0] == 3, "it is locked"
