"""A service with several addresses, some of which are dead. R-DATA-INTACT."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

HOST = "broker.test"
# The device goes through them by number, whatever order the name service has.
REFUSES, SILENT, LIVE = "127.0.0.2", "127.0.0.3", "127.0.0.4"


@pytest.fixture
def bench_of(bench):
    """The bench, whose device finds these addresses for the service's name."""

    def prepare(*addresses: str):
        library = bench.folder / "addresses.so"
        source = Path(__file__).with_name("addresses.c")
        subprocess.run(["cc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        bench.environment = {"LD_PRELOAD": str(library), "SENSOR_HOST": HOST, "SENSOR_ADDRESSES": ",".join(addresses)}
        bench.start_time_server()
        return bench.start_broker(server=bench.authority.server(names=(HOST,)), address=LIVE)

    return prepare


def test_the_addresses_of_a_host_are_tried_in_turn_until_one_answers(bench, bench_of):
    operator = bench_of(LIVE, SILENT, REFUSES)
    with socket.socket() as silent:
        # Connections come about, and nobody ever says a word on them.
        silent.bind((SILENT, bench.broker.port))
        silent.listen()
        firmware = bench.enrol(host=HOST)
        firmware.wait_for("connected to the service", timeout=60)
        operator.wait_for("device/dev-1/hello")
        silent.settimeout(10)
        silent.accept()[0].close()
    tries = firmware.text[: firmware.text.index("connected to the service")].count("not connected: ")
    assert tries == 2, firmware.text


def test_a_host_of_dead_addresses_only_is_not_reached(bench, bench_of):
    bench_of(REFUSES, REFUSES)
    firmware = bench.enrol(host=HOST)
    for _ in range(4):
        firmware.wait_for("not connected: ")
    assert "connected to the service" not in firmware.text
