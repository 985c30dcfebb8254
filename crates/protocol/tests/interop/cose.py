"""Signs and verifies COSE_Sign1 with pycose: an implementation that knows nothing of this project.

Reads one JSON object per line and answers each with one; everything in bytes is hex.
"""

import json
import sys

from ecdsa import NIST256p
from pycose.algorithms import EdDSA, Es256, Es384, Es512
from pycose.headers import KID, Algorithm, ContentType
from pycose.keys import EC2Key
from pycose.keys.curves import P256
from pycose.messages import CoseMessage, Sign1Message

ORDER = NIST256p.order


def public_key(point):
    point = bytes.fromhex(point)
    return EC2Key(crv=P256, x=point[1:33], y=point[33:65])


def verify(request):
    message = CoseMessage.decode(bytes.fromhex(request["document"]))
    message.key = public_key(request["key"])
    assert isinstance(message, Sign1Message)
    return {
        "verified": bool(message.verify_signature()),
        "algorithm": message.phdr[Algorithm].fullname,
        "content_type": message.phdr[ContentType],
        "kid": message.phdr[KID].hex(),
        "unprotected": len(message.uhdr),
        "payload": message.payload.hex(),
    }


def half(signature, low):
    """The signature of the pair with its s in the lower, or in the upper half."""
    s = int.from_bytes(signature[32:], "big")
    if (s <= ORDER // 2) != low:
        s = ORDER - s
    return signature[:32] + s.to_bytes(32, "big")


def sign(request):
    point = bytes.fromhex(request["key"])
    key = EC2Key(crv=P256, x=point[1:33], y=point[33:65], d=bytes.fromhex(request["scalar"]))
    kid = bytes.fromhex(request["kid"])
    payload = bytes.fromhex(request["payload"])
    right = {Algorithm: Es256, ContentType: request["content_type"], KID: kid}

    def document(protected=right, unprotected=None, low=True, aad=b"", tag=True):
        message = Sign1Message(phdr=protected, uhdr=unprotected or {}, payload=payload, external_aad=aad)
        # pycose signs with the algorithm of the header; a header that names another is signed with ES256 all the same.
        message.signature = half(Es256.sign(key, message._create_sig_structure()), low)
        return message.encode(tag=tag, sign=False).hex()

    def detached():
        message = Sign1Message(phdr=right, uhdr={}, payload=None, key=key)
        message.signature = half(Es256.sign(key, message._create_sig_structure(payload)), True)
        return message.encode(sign=False).hex()

    # As pycose does it when it is asked for nothing in particular: s is where it falls.
    plain = Sign1Message(phdr=right, uhdr={}, payload=payload, key=key).encode().hex()
    without = lambda header: {name: value for name, value in right.items() if name != header}
    return {
        "plain": plain,
        "low": document(),
        "high": document(low=False),
        "near_misses": [
            ["ES384", document({**right, Algorithm: Es384}), "algorithm"],
            ["ES512", document({**right, Algorithm: Es512}), "algorithm"],
            ["EdDSA", document({**right, Algorithm: EdDSA}), "algorithm"],
            ["CoAP's number of JSON", document({**right, ContentType: 50}), "content_type"],
            ["another content type", document({**right, ContentType: "application/cbor"}), "content_type"],
            ["the key id of somebody else", document({**right, KID: bytes(32)}), "unknown_key"],
            ["a short key id", document({**right, KID: kid[:8]}), "malformed"],
            ["no algorithm", document(without(Algorithm)), "malformed"],
            ["no content type", document(without(ContentType)), "malformed"],
            ["no key id", document(without(KID)), "malformed"],
            ["the key id unprotected", document(without(KID), {KID: kid}), "malformed"],
            ["the algorithm unprotected", document(without(Algorithm), {Algorithm: Es256}), "malformed"],
            ["the key id unprotected too", document(right, {KID: kid}), "malformed"],
            ["another order", document(dict(reversed(right.items()))), "malformed"],
            ["one more header", document({**right, "x": 1}), "malformed"],
            ["no tag", document(tag=False), "malformed"],
            ["no payload", detached(), "malformed"],
            ["external data", document(aad=b"x"), "signature"],
        ],
    }


def main():
    requests = [json.loads(line) for line in sys.stdin.read().splitlines()]
    for request in requests:
        print(json.dumps({"verify": verify, "sign": sign}[request["do"]](request)))


main()
