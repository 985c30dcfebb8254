"""Holds a build to what a release may have: every option that is set stands in a list, and what must be on is on.

    release_profile.py .config LIST...

Owns the reading of both; the lists say what. A line is `NAME` (may be set to anything), `NAME*` (and all that begin so), `!NAME` (must be y),
or a comment after #.
"""

import re
import sys
from pathlib import Path

OPTION = re.compile(r"CONFIG_(\w+)=(.+)")


def read(lists: list[Path]) -> tuple[set[str], tuple[str, ...], list[str]]:
    """The names, the beginnings and what is required."""
    names, beginnings, required = set(), [], []
    for path in lists:
        for line in path.read_text().splitlines():
            word = line.partition("#")[0].strip()
            if word.startswith("!"):
                required.append(word[1:])
                names.add(word[1:])
            elif word.endswith("*"):
                beginnings.append(word[:-1])
            elif word:
                names.add(word)
    return names, tuple(beginnings), required


def faults(configuration: str, lists: list[Path]) -> list[str]:
    """What a release must not be, in words."""
    names, beginnings, required = read(lists)
    found = dict(match.groups() for match in map(OPTION.fullmatch, configuration.splitlines()) if match)
    words = [
        f"CONFIG_{name}={value} is not in the list of what a release may have"
        for name, value in found.items()
        if name not in names and not name.startswith(beginnings) and value not in ('""', "0")
    ]
    return words + [f"CONFIG_{name} must be y in a release" for name in required if found.get(name) != "y"]


def main() -> int:
    config, *lists = map(Path, sys.argv[1:])
    words = faults(config.read_text(), lists)
    for word in words:
        print(word)
    return 1 if words else 0


if __name__ == "__main__":
    sys.exit(main())
