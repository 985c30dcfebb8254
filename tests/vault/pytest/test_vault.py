"""The vault on Zephyr: keys of PSA Crypto in a sealed partition, and the entropy that they are made of.

Runs the firmware with its self-test in place of the device (tests/vault/self_test.rs): a boot with an empty vault makes
keys and shows them, one that finds keys uses and wipes them.
"""

import base64
import re
import subprocess
from pathlib import Path

import pytest

# boards/native_sim_native_64.overlay
VAULT_BEGIN, VAULT_END = 0xFE000, 0xFE000 + 0x9000
ENTROPY_GONE = "the random generator gives no numbers: no key was made"
STUCK = "is stuck at one value"
BIASED = "is biased"


@pytest.fixture(scope="session")
def program(twister_harness_config):
    return Path(twister_harness_config.devices[0].app_build_dir) / "zephyr" / "zephyr.exe"


class Board:
    """The program with a flash of its own."""

    def __init__(self, program, folder):
        self.program = program
        self.flash = folder / "flash.bin"

    def boot(self, *options):
        """Its output up to the end of the self-test."""
        result = subprocess.run(
            # Simulated time: it ends by itself, long before the watchdog.
            [self.program, f"--flash={self.flash}", "-no-rt", "-stop_at=2", *options],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def vault(self):
        return self.flash.read_bytes()[VAULT_BEGIN:VAULT_END]


@pytest.fixture
def board(program, tmp_path):
    return Board(program, tmp_path)


def shown(name, output):
    found = re.findall(rf"self-test: {name} ([0-9a-f]+)", output)
    assert len(found) == 1, output
    return bytes.fromhex(found[0])


def done(output):
    return "self-test: done" in output


def forms(secret):
    """How a secret may lie in memory: raw in both orders, hexadecimal, base64 (at each of its three offsets)."""
    yield secret
    yield secret[::-1]
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + secret)
        # Without what depends on the neighbours.
        yield encoded[4 if offset else 0 : -4]


def assert_nowhere(flash, *secrets):
    for secret in secrets:
        for form in forms(secret):
            assert form not in flash


def test_keys_survive_a_restart_and_are_gone_after_wiping(board):
    first = board.boot()
    assert done(first), first
    tls, identity = shown("tls-scalar", first), shown("identity-scalar", first)
    assert tls != identity
    sealed = board.vault()
    assert_nowhere(board.flash.read_bytes(), tls, identity)
    assert sealed.count(b"\xff") < len(sealed), "nothing was stored"

    second = board.boot()
    assert done(second), second
    assert shown("identity", second) == shown("identity", first)
    assert "self-test: a key was made" in second
    assert "self-test: wiped" in second
    assert board.vault() == b"\xff" * (VAULT_END - VAULT_BEGIN)
    assert_nowhere(board.flash.read_bytes(), tls, identity)


def test_the_shown_scalars_are_those_of_the_keys(board):
    ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec", reason="pip install cryptography")
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    output = board.boot()
    for scalar, public in [("tls-scalar", "tls"), ("identity-scalar", "identity")]:
        key = ec.derive_private_key(int.from_bytes(shown(scalar, output), "big"), ec.SECP256R1())
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        assert point == shown(public, output)


def test_another_devices_sealing_key_does_not_open_the_vault(board):
    assert done(board.boot())
    output = board.boot("--sealing-key=" + "5a" * 32)
    assert not done(output)
    assert "cannot be unsealed" in output
    # The right one still does.
    assert done(board.boot())


def test_a_damaged_entry_is_not_taken_for_a_key(board):
    assert done(board.boot())
    flash = bytearray(board.flash.read_bytes())
    for block in range(VAULT_BEGIN, VAULT_END, 4096):
        if flash[block] != 0xFF:
            # In the value, behind the commit and the header.
            flash[block + 64 + 40] ^= 1
    board.flash.write_bytes(flash)
    output = board.boot()
    assert not done(output)
    assert "damaged" in output


@pytest.mark.parametrize("fault, said", [("stuck", STUCK), ("biased", BIASED)])
def test_a_source_that_is_broken_from_the_start_makes_no_key(board, fault, said):
    output = board.boot(f"--entropy-fault={fault}")
    assert "self-test: no random numbers" in output
    assert ENTROPY_GONE in output
    assert output.count(said) == 1, "it is said once"
    assert "self-test: identity" not in output
    assert board.vault() == b"\xff" * (VAULT_END - VAULT_BEGIN)


def test_a_source_that_does_not_answer_makes_no_key(board):
    output = board.boot("--entropy-fault=no-answer")
    assert ENTROPY_GONE in output
    assert "self-test: identity" not in output


def test_a_source_that_breaks_in_use_makes_no_further_key(board):
    # Good through the start-up test of 1024 bytes, the seed and the first key.
    output = board.boot("--entropy-fault=stuck,2048")
    assert "self-test: identity" in output
    assert ENTROPY_GONE in output
    assert output.count(STUCK) == 1
    assert not done(output)


@pytest.mark.parametrize("option", ["--entropy-fault=dead", "--entropy-fault=stuck,", "--sealing-key=5a"])
def test_a_bad_option_ends_the_program_and_says_why(board, option):
    result = subprocess.run([board.program, option, "-stop_at=1"], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode != 0
    assert option in result.stderr
