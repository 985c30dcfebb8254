"""The firmware as native_sim's program, with what a test needs around it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench import DEVICE, Bench  # noqa: E402

__all__ = ["DEVICE"]


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path):
    build = request.config.twister_harness_config.devices[0].app_build_dir
    bench = Bench(build / "zephyr" / "zephyr.exe", tmp_path)
    try:
        yield bench
    finally:
        bench.close()
