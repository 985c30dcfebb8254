"""A release of sensorctl's: a full image and, where a base is given, a delta against it, for devices of one factory."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from factory import POWERS, Factory
from release import BLOCK_BYTES, Service, inclusion_proof
from tools import tool


def write_powers(factory: Factory, folder: Path) -> Path:
    """The factory's keys as sensorctl wants them."""
    folder.mkdir(exist_ok=True)
    for power in POWERS:
        key = factory.keys[power]
        (folder / f"{power}.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ))
        (folder / f"{power}.key").chmod(0o600)
        (folder / f"{power}.pub").write_bytes(key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ))
    return folder


class SignedRelease:
    """`sensorctl firmware sign`, and what it has made."""

    def __init__(self, factory: Factory, folder: Path, board: str, image: bytes, base: bytes | None = None) -> None:
        folder.mkdir()
        new, old, out = (folder / name for name in ("new.bin", "old.bin", "release"))
        new.write_bytes(image)
        command = [
            tool("sensorctl"), "firmware", "sign", "--image", new, "--authority", write_powers(factory, folder / "powers"),
            "--board", board, "--sequence", "1", "--out", out,
        ]
        if base is not None:
            old.write_bytes(base)
            command += ["--base", old]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        self.image = image
        self.folder = out
        self.about = json.loads((out / "release.json").read_text())
        payloads = self.about["payloads"]
        assert any(payload["base"] for payload in payloads) == (base is not None), done.stdout

    @property
    def payload(self) -> dict:
        """What the device fetches: the delta, where there is one."""
        return next((payload for payload in self.about["payloads"] if payload["base"]), self.about["payloads"][-1])

    def publish(self, service: Service, factory: Factory) -> None:
        """All blocks, then the rollout for everybody, then the manifest."""
        for payload in self.about["payloads"]:
            data = (self.folder / payload["file"]).read_bytes()
            blocks = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
            for index, block in enumerate(blocks):
                service.publisher.publish(f"{payload['uri']}/{index}", inclusion_proof(index, blocks) + block)
        root = f"firmware/{self.about['class']}"
        digest = bytes.fromhex(self.about["manifest"])
        rollout = factory.signed("configuration", "rollout", {1: [3], 2: 1, 3: digest, 4: 1000})
        service.publisher.publish(f"{root}/rollout", rollout)
        service.publisher.publish(f"{root}/manifest", (self.folder / "manifest.suit").read_bytes())
