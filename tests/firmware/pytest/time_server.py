"""A small SNTP server (RFC 4330) whose clock is the host's plus an offset."""

from __future__ import annotations

import socket
import struct
import threading
import time

NTP_TO_UNIX = 2_208_988_800


class TimeServer:
    def __init__(self, offset_s: float = 0) -> None:
        self.offset_s = offset_s
        self.silent = False
        self.version = 4
        self.requests = threading.Semaphore(0)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def now(self) -> float:
        """Seconds since 1970, by this server's clock."""
        return time.time() + self.offset_s

    def _stamp(self) -> bytes:
        seconds, fraction = divmod(self.now() + NTP_TO_UNIX, 1)
        return struct.pack("!II", int(seconds) & 0xFFFF_FFFF, int(fraction * 2**32))

    def _serve(self) -> None:
        while True:
            try:
                request, client = self.socket.recvfrom(512)
            except OSError:
                return
            if len(request) < 48:
                continue
            self.requests.release()
            if self.silent:
                continue
            received = self._stamp()
            # Leap 0, mode 4, stratum 2; the transmit timestamp of the request comes back as originate.
            header = struct.pack("!BBbbII4s", self.version << 3 | 4, 2, 6, -20, 0, 0, b"\x7f\0\0\1")
            answer = header + received + request[40:48] + received + self._stamp()
            self.socket.sendto(answer, client)

    def wait_for_requests(self, count: int, timeout: float) -> None:
        """Waits until so many more requests have come."""
        for _ in range(count):
            assert self.requests.acquire(timeout=timeout), "the device does not ask for the time"

    def close(self) -> None:
        self.socket.close()
