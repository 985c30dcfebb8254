"""Makes and verifies images with MCUboot's imgtool for crates/protocol/tests/interop_image.rs: JSON lines in, JSON lines out."""

import contextlib
import json
import pathlib
import sys
import tempfile

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from imgtool.main import imgtool


def make_key(kind, scalar):
    if kind == "p256":
        return ec.derive_private_key(int(scalar, 16), ec.SECP256R1())
    if kind == "p384":
        return ec.derive_private_key(int(scalar, 16), ec.SECP384R1())
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ed25519.Ed25519PrivateKey.generate()


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def run(arguments):
    # imgtool tells people things on standard output.
    with contextlib.redirect_stdout(sys.stderr):
        imgtool.main(arguments, standalone_mode=False)


def answer(task, folder):
    if "key" in task:
        (folder / "key.pem").write_bytes(pem(make_key(**task["key"])))
    path = {name: str(folder / name) for name in ["key.pem", "in.bin", "out.bin"]}
    arguments = [path.get(argument, argument) for argument in task["arguments"]]
    (folder / "in.bin").write_bytes(bytes.fromhex(task["input"]))
    try:
        run(arguments)
    except SystemExit as end:
        if end.code:
            return {"error": str(end.code)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    out = folder / "out.bin"
    return {"output": out.read_bytes().hex() if out.exists() else ""}


for line in [json.loads(line) for line in sys.stdin]:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(answer(line, pathlib.Path(folder))))
