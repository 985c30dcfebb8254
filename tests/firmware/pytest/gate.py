"""A way to the broker that can be shut in several ways, each of which makes a device wait."""

from __future__ import annotations

import select
import socket
import threading

# What a deaf gate takes of a connection: the handshake, CONNECT and SUBSCRIBE, and some of what follows.
DEAF_AFTER = 2_300

OPEN, DROPS, STALLS, DEAF = "open", "drops", "stalls", "deaf"


class Gate:
    """Everything that comes to `port` goes to the broker's. `open`: it does. `drops`: nobody answers a SYN. `stalls`: TCP is
    accepted and nothing is said. `deaf`: what the device sends is not taken any more once it is connected."""

    def __init__(self, mode: str) -> None:
        self.to: int | None = None
        self.listener = socket.socket()
        # A window that is soon full.
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_304)
        self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.changed = threading.Condition()
        self.closed = False
        self.fillers: list[socket.socket] = []
        self.pairs: list[tuple[socket.socket, ...]] = []
        # Connections that were deaf while more was to be had.
        self.blocked = 0
        self.mode = mode
        self.set(mode)
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode: str) -> None:
        """From now on; what is connected is cut."""
        with self.changed:
            self.mode = mode
            for each in (*self.fillers, *(end for pair in self.pairs for end in pair)):
                shut(each)
            self.fillers, self.pairs = [], []
            if mode == DROPS:
                # More than the queue of connections that nobody accepts has room for.
                for _ in range(8):
                    filler = socket.socket()
                    filler.setblocking(False)
                    filler.connect_ex(("127.0.0.1", self.port))
                    self.fillers.append(filler)
            self.changed.notify_all()

    def _accept(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.closed or self.mode != DROPS)
                if self.closed:
                    return
            if not select.select([self.listener], [], [], 0.1)[0]:
                continue
            with self.changed:
                if self.closed or self.mode == DROPS:
                    continue
                device, _ = self.listener.accept()
                if self.mode == STALLS or self.to is None:
                    self.pairs.append((device,))
                    continue
                try:
                    broker = socket.create_connection(("127.0.0.1", self.to), 10)
                except OSError:
                    device.close()
                    continue
                self.pairs.append((device, broker))
                deaf_after = DEAF_AFTER if self.mode == DEAF else None
            threading.Thread(target=self._pass, args=(device, broker, deaf_after), daemon=True).start()
            threading.Thread(target=self._pass, args=(broker, device, None), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, at_most: int | None) -> None:
        passed = 0
        try:
            while at_most is None or passed < at_most:
                data = source.recv(1_024)
                if not data:
                    break
                target.sendall(data)
                passed += len(data)
            else:
                # Nothing is read any more; the ends are shut by `set`, or when the device gives up.
                self.blocked += bool(select.select([source], [], [], 10)[0])
                return
        except OSError:
            pass
        shut(source)
        shut(target)

    def close(self) -> None:
        self.set(OPEN)
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self.listener.close()


def shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    end.close()
