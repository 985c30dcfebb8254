"""Signs and verifies tokens with PyJWT for crates/protocol/tests/interop_token.rs: JSON lines in, JSON lines out."""

import json
import sys

import jwt
from cryptography.hazmat.primitives.asymmetric import ec


def sign(task):
    if task["algorithm"] == "ES256":
        key = ec.derive_private_key(int(task["scalar"], 16), ec.SECP256R1())
    elif task["algorithm"] == "none":
        key = None
    else:
        key = bytes.fromhex(task["secret"])
    return jwt.encode(task["claims"], key, algorithm=task["algorithm"], headers=task["headers"])


def verify(task):
    point = bytes.fromhex(task["public"])
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    required = {"require": ["iat", "exp", "aud", "sub"]}
    try:
        claims = jwt.decode(task["token"], key, algorithms=["ES256"], audience=task["audience"], options=required)
        return {"claims": claims, "header": jwt.get_unverified_header(task["token"])}
    except jwt.PyJWTError as error:
        return {"error": type(error).__name__}


for task in [json.loads(line) for line in sys.stdin]:
    print(json.dumps(sign(task) if task["do"] == "sign" else verify(task)))
