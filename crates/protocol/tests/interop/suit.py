"""Reads and makes SUIT envelopes with cbor2 and pycose, which know nothing of this project.

Reads one JSON object per line and answers each with one; everything in bytes is hex.
"""

import hashlib
import json
import sys

import cbor2
from pycose.algorithms import Es256
from pycose.headers import KID, Algorithm
from pycose.keys import EC2Key
from pycose.keys.curves import P256
from pycose.messages import CoseMessage, Sign1Message

SHA256 = -16


def cose_key(point, scalar=b""):
    point = bytes.fromhex(point)
    return EC2Key(crv=P256, x=point[1:33], y=point[33:65], d=scalar)


def canonical(item):
    return cbor2.dumps(item, canonical=True)


def wrapped(item):
    return canonical(canonical(item))


def run(sequence, state):
    """A command interpreter for what the tests need; gives a log of what it did."""
    log = []
    index = 0
    sequence = cbor2.loads(sequence)
    for command, argument in zip(sequence[::2], sequence[1::2], strict=True):
        if command == 12:
            index = argument
        elif command == 20:
            state.setdefault(index, {}).update(argument)
        elif command == 15:
            log.append(["try", [run(each, {k: dict(v) for k, v in state.items()}) for each in argument]])
        else:
            parameters = state.get(index, {})
            shown = {
                1: lambda: parameters[1].hex(),
                2: lambda: parameters[2].hex(),
                3: lambda: cbor2.loads(parameters[3])[1].hex(),
                4: lambda: parameters[4],
                21: lambda: parameters[21],
                23: lambda: None,
            }[command]()
            log.append([command, index, shown])
    return log


def read(request):
    envelope = cbor2.loads(bytes.fromhex(request["envelope"]))
    assert envelope.tag == 107 and list(envelope.value) == [2, 3]
    digest, block = cbor2.loads(envelope.value[2])
    manifest = envelope.value[3]
    algorithm, value = cbor2.loads(digest)
    message = CoseMessage.decode(block)
    assert isinstance(message, Sign1Message) and message.payload is None
    message.payload = digest
    message.key = cose_key(request["key"])
    # The bytes of a CoSWID are canonical too, so that the whole manifest is.
    manifest_map = cbor2.loads(manifest)
    common = cbor2.loads(manifest_map[3])
    state = {}
    shared = run(common[4], state)
    answer = {
        "verified": bool(message.verify_signature()),
        "digest": algorithm == SHA256 and hashlib.sha256(cbor2.dumps(manifest)).digest() == value,
        "canonical": canonical(envelope) == bytes.fromhex(request["envelope"])
        and canonical(manifest_map) == manifest
        and canonical(common) == manifest_map[3],
        "kid": message.phdr[KID].hex(),
        "version": manifest_map[1],
        "sequence": manifest_map[2],
        "components": [[part.hex() for part in each] for each in common[2]],
        "shared": shared,
        "size": state[0][14],
        "validate": run(manifest_map[7], state),
        "invoke": run(manifest_map[9], state),
    }
    if 20 in manifest_map:
        answer["install"] = run(manifest_map[20], state)
    if 4 in manifest_map:
        answer["reference"] = manifest_map[4]
    if 6 in manifest_map:
        answer["set_version"] = cbor2.loads(manifest_map[6])
    if 14 in manifest_map:
        tag = cbor2.loads(manifest_map[14])
        assert canonical(tag) == manifest_map[14]
        answer["coswid"] = {
            "id": tag[0].hex(), "software": tag[1], "maker": tag[2][31], "roles": tag[2][33],
            "link": [tag[4][38].tag, tag[4][38].value, tag[4][40]], "tag_version": tag[12], "version": tag[13],
        }
    if 23 in manifest_map:
        answer["text"] = cbor2.loads(manifest_map[23])
        answer["text"] = {key: {str(number): text for number, text in words.items()} for key, words in answer["text"].items()}
    if -256 in manifest_map:
        mud = cbor2.loads(manifest_map[-256])
        answer["mud"] = [mud[1].tag, mud[1].value, mud[2][0], mud[2][1].hex()]
    return answer


def make(request):
    """Envelopes of the same manifest: with the key's name and without, whole and severed, in order and not."""
    key = cose_key(request["key"], bytes.fromhex(request["scalar"]))
    digest = canonical([SHA256, bytes.fromhex(request["digest"])])
    base = canonical([SHA256, bytes.fromhex(request["base"])])
    parameters = {
        1: bytes.fromhex(request["vendor"]), 2: bytes.fromhex(request["class"]), 3: digest, 14: request["size"],
    }
    full = [20, {21: request["uri"]}, 21, 2, 3, 15]
    delta = [12, 1, 20, {3: base}, 3, 15, 12, 0, *full]
    install = canonical([20, {4: request["use_before"]}, 4, 15, 15, [canonical(delta), canonical(full)]])
    text = canonical({"en": {1: request["description"]}, "fr": {1: "Autre chose"}})
    common = {2: [[b"\x00"], [b"\x01"]], 4: canonical([20, parameters, 1, 15, 2, 15])}
    manifest = {
        1: 1, 2: request["sequence"], 3: canonical(common), 6: canonical(request["version"]),
        7: canonical([3, 15]), 20: install, 23: text,
    }

    def severed(element):
        return [SHA256, hashlib.sha256(cbor2.dumps(element)).digest()]

    def envelope(manifest, more=None, kid=True, dumps=canonical):
        manifest = dumps(manifest)
        signed = canonical([SHA256, hashlib.sha256(cbor2.dumps(manifest)).digest()])
        header = {Algorithm: Es256} | ({KID: bytes.fromhex(request["kid"])} if kid else {})
        message = Sign1Message(phdr=header, uhdr={}, payload=signed, key=key)
        message.key = key
        block = message.encode(tag=False)
        protected, unprotected, _, signature = block if isinstance(block, list) else cbor2.loads(block)
        block = canonical(cbor2.CBORTag(18, [protected, unprotected, None, signature]))
        wrapper = canonical([signed, block])
        return canonical(cbor2.CBORTag(107, {2: wrapper, 3: manifest, **(more or {})})).hex()

    return {
        "named": envelope(manifest),
        "unnamed": envelope(manifest, kid=False),
        "severed": envelope({**manifest, 20: severed(install), 23: severed(text)}, {20: install, 23: text}),
        "without text": envelope({**manifest, 20: severed(install), 23: severed(text)}, {20: install}),
        "disordered": envelope(dict(reversed(manifest.items())), dumps=cbor2.dumps),
    }


# Everything is read before anything is written.
for line in sys.stdin.read().splitlines():
    request = json.loads(line)
    print(json.dumps({"read": read, "make": make}[request["do"]](request)))
