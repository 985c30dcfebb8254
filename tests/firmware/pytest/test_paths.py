"""The paths of certificates of all ports, each with the same verdict. R-TLS-SERVER, R-ROOTS."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench import Bench
from script import CONNACK, CONNECT, Service
from tools import tool

# OpenSSL does not show this one, which it finds broken itself: the Linux port and the rule's own tests have it.
NOT_SHOWN = {"server-extension-twice"}
# With TLS 1.2 it offers no cipher suite for a certificate that may not sign.
NOT_SHOWN_WITH_TLS_1_2 = {"server-without-digital-signature"}
# Most of a case is waiting.
AT_ONCE = 3


@dataclass
class Files:
    """The certificates and the key that a case has brought, in place of an identity."""

    folder: Path

    def write(self, folder: Path, name: str) -> None:
        for kind, source in (("crt", "chain.crt"), ("key", "server.key")):
            (folder / f"{name}.{kind}").write_bytes((self.folder / source).read_bytes())


@dataclass
class Root:
    """A root as a list has it: DER, whatever is wrong with it."""

    der: bytes

    @property
    def identity(self) -> Root:
        return self

    def certificate_der(self) -> bytes:
        return self.der


def roots(file: Path) -> list[Root]:
    blocks = file.read_text().split("-----BEGIN CERTIFICATE-----")[1:]
    return [Root(ssl.PEM_cert_to_DER_cert("-----BEGIN CERTIFICATE-----" + block)) for block in blocks]


def verdict(bench: Bench, case: dict, files: Path) -> str:
    """What the device says to a service that shows these certificates."""
    bench.start_time_server(offset_s=case["ahead_s"])
    peer = bench.keep(Service(bench.folder / "service", Files(files)))
    firmware = bench.run()
    line = bench.keep(bench.open_line(firmware))
    configuration = bench.configuration(host=case["host"], port=peer.port)
    try:
        bench.factory.provision(line, "dev-1", "field-a", configuration, bench.authority, roots(files / "roots.crt"))
    except AssertionError as refused:
        return f"roots: {refused}"
    firmware.wait_for("boot 1, configuration 7", timeout=60)
    with contextlib.suppress(ssl.SSLError, OSError):
        peer.socket.settimeout(60)
        connection = peer.accept()
        connection.expect(CONNECT)
        connection.send(CONNACK)
        connection.accept_subscriptions()
        return "connected"
    return firmware.wait_for(r"not connected: .* \((\w+)\)", timeout=60)[1]


def test_every_path_of_the_list_has_the_verdict_of_all_ports(request, tmp_path):
    program = request.config.twister_harness_config.devices[0].app_build_dir / "zephyr" / "zephyr.exe"
    lists = tmp_path / "list"
    subprocess.run([tool("paths"), str(lists)], check=True, timeout=120)
    cases = json.loads((lists / "cases.json").read_text())
    assert len(cases) >= 60
    tls_1_2 = "CONFIG_MBEDTLS_SSL_PROTO_TLS1_2=y" in (program.parent / ".config").read_text()
    not_shown = NOT_SHOWN | (NOT_SHOWN_WITH_TLS_1_2 if tls_1_2 else set())
    cases = [case for case in cases if case["name"] not in not_shown]

    def judge(case: dict) -> str | None:
        folder = tmp_path / case["name"]
        folder.mkdir()
        bench = Bench(program, folder)
        try:
            said = verdict(bench, case, lists / case["name"])
        except AssertionError as error:
            said = str(error)[-300:]
        finally:
            bench.close()
        wanted = case["verdict"]
        # On its line a device says only that a list of roots is none.
        same = said.startswith("roots") if wanted.startswith("roots:") else said == wanted
        return None if same else f"{case['name']}: {said}, not {wanted}"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [text for text in pool.map(judge, cases) if text]
    assert not wrong, "\n".join(wrong)
