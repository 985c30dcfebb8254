"""Power is cut while the real firmware downloads: the update still reaches its end by itself. R-FW-ATOMIC, R-FW-HEALTH.

The flash operations of one whole update are recorded; then the flash is put together as power cuts in the download would have
left it, and the board started on it with its service. The environment says how much: SENSOR_BOARD_CUTS states (2) of each
of SENSOR_BOARD_PHASES (download; also mark, swap, trial, confirm), SENSOR_BOARD_KILLS (3), SENSOR_BOARD_SEED (1);
SENSOR_BOARD_LOGS is a folder that keeps the logs for `cargo xtask cuts --log`."""

from __future__ import annotations

import os
import queue
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from bench import DEVICE
from signed_release import SignedRelease
from test_board import wait_for_state
from tools import tool

CUTS, KILLS, SEED = (
    int(os.environ.get(f"SENSOR_BOARD_{name}", default)) for name, default in (("CUTS", 2), ("KILLS", 3), ("SEED", 1))
)
PHASES = os.environ.get("SENSOR_BOARD_PHASES", "download").split(",")
# Of new code: what a delta has to carry whole. No multiple of a block.
NEW_BYTES = 20_001
STEPS = {"full": False, "delta": True}


def start_with_v1(board):
    """A device in service that runs 1.0.0, and is off."""
    service = board.start_service()
    v1 = board.image("1.0.0")
    board.burn(v1)
    firmware = board.enrol()
    wait_for_state(board, phase="idle", version="1.0.0", sequence=0)
    firmware.kill()
    return service, v1


def release_v2(board, service, base: bytes | None) -> SignedRelease:
    v2 = board.image("2.0.0", appended=random.Random(SEED).randbytes(NEW_BYTES))
    release = SignedRelease(board.factory, board.folder / "signed", "mps2/an385", v2, base)
    release.publish(service, board.factory)
    return release


def drop_what_was_said(board) -> None:
    while True:
        try:
            board.operator.lines.get_nowait()
        except queue.Empty:
            return


def blocks_sent(board, release) -> int:
    log = (board.folder / "broker/mosquitto.log").read_text()
    return len(re.findall(rf"Sending PUBLISH to {DEVICE} .*'{release.payload['uri']}/\d+'", log))


def reaches_its_end(board, release, firmware, timeout: float = 300) -> None:
    """The board installs and confirms 2.0.0."""
    firmware.wait_for("sensor device 2.0.0 on mps2", timeout=timeout)
    stays = wait_for_state(board, phase="idle", version="2.0.0", timeout=timeout)
    assert (stays["sequence"], stays["fault"]) == (1, None)
    assert board.slot0(len(release.image)) == release.image


def record_update(board, name: str, with_delta: bool) -> tuple[SignedRelease, Path]:
    service, v1 = start_with_v1(board)
    release = release_v2(board, service, v1 if with_delta else None)
    log = Path(os.environ.get("SENSOR_BOARD_LOGS") or board.folder) / f"{name}.flashlog"
    began = time.monotonic()
    firmware = board.run(record=log)
    assert wait_for_state(board, phase="downloading")["delta"] == with_delta
    reaches_its_end(board, release, firmware)
    # What it stores when it has confirmed.
    board.operator.wait_for(f"device/{DEVICE}/telemetry")
    print(f"{name}: {firmware.finish()}; {release.payload['blocks']} blocks, {time.monotonic() - began:.0f} s")
    return release, log


def cut_states(log: Path, phase: str, folder: Path) -> list[Path]:
    """Flash files: as power cuts at seeded operations of the phase leave it."""
    subprocess.run(
        [
            tool("xtask"), "cuts", "--log", log, "--phase", phase, "--count", str(CUTS), "--seed", str(SEED),
            "--save-states", folder,
        ],
        check=True, timeout=120, capture_output=True,
    )
    return sorted(folder.iterdir())


@pytest.mark.parametrize("name", STEPS)
def test_an_update_reaches_its_end_from_wherever_power_was_cut(board, name):
    release, log = record_update(board, name, STEPS[name])
    for phase in PHASES:
        states = cut_states(log, phase, board.folder / phase)
        assert len(states) == CUTS
        for state in states:
            shutil.copyfile(state, board.flash)
            state.unlink()
            drop_what_was_said(board)
            before, began = blocks_sent(board, release), time.monotonic()
            firmware = board.run()
            reaches_its_end(board, release, firmware)
            firmware.kill()
            print(
                f"{name}, seed {SEED}, {phase}, state {state.stem}: confirmed after {time.monotonic() - began:.0f} s, "
                f"{blocks_sent(board, release) - before} of {release.payload['blocks']} blocks fetched"
            )


def test_a_download_survives_random_kills(board):
    service, _ = start_with_v1(board)
    release = release_v2(board, service, None)
    drop_what_was_said(board)
    rng = random.Random(SEED)
    size = len(release.image)
    for kill in range(KILLS):
        firmware = board.run()
        # Somewhere in the next part of the download.
        wanted = size * rng.uniform(kill, kill + 0.8) / (KILLS + 1)
        there = board.operator.wait_for(
            f"device/{DEVICE}/firmware/state",
            lambda state: state["phase"] == "downloading" and state["done"] >= wanted - size / 10, 120,
        )["done"]
        time.sleep(rng.uniform(0, 0.5))
        firmware.kill()
        assert "2.0.0 on mps2" not in firmware.text, "the download was over before the kill"
        print(f"seed {SEED}, kill {kill + 1}: after {there} of {size} bytes")
    drop_what_was_said(board)
    reaches_its_end(board, release, board.run())
    print(f"{blocks_sent(board, release)} blocks fetched for {release.payload['blocks']}")
