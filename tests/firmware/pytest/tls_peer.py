"""A service that speaks only one version or cipher suite of TLS, and what came of the handshake with it."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from pathlib import Path

from authority import Authority


class TlsPeer:
    """Accepts one connection after the other; what was negotiated, or why not, is in `outcomes`."""

    def __init__(self, folder: Path, authority: Authority, version: ssl.TLSVersion, ciphers: str) -> None:
        folder.mkdir()
        authority.server().write(folder, "server")
        authority.identity.write(folder, "roots")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Level 0 so that the old versions are really spoken.
        self.context.set_ciphers(ciphers + ":@SECLEVEL=0")
        self.context.minimum_version = version
        self.context.maximum_version = version
        self.context.load_cert_chain(folder / "server.crt", folder / "server.key")
        self.context.load_verify_locations(folder / "roots.crt")
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.outcomes: queue.Queue = queue.Queue()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(connection, server_side=True) as tls:
                    client = dict(pair[0] for pair in tls.getpeercert()["subject"])
                    self.outcomes.put((tls.version(), tls.cipher()[0], client["commonName"]))
                    tls.recv(4096)
            except (ssl.SSLError, OSError) as error:
                self.outcomes.put(error)

    def close(self) -> None:
        self.socket.close()
