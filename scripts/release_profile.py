"""Holds a build to what a release may have: every option that is set stands in a list, and what must be on is on.

    release_profile.py .config LIST...

Owns the reading of both; the lists say what. A line is `NAME` (may be set to anything), `NAME=VALUE` (to this only), `NAME_*` (and all that
begin so), `!NAME` (must be y), or a comment after #.
"""

import re
import sys
from pathlib import Path

OPTION = re.compile(r"CONFIG_(\w+)=(.+)")
LINE = re.compile(r"(?P<required>!\w+)|(?P<beginning>\w+_\*)|(?P<name>\w+)(?:=(?P<value>.+))?")
# What an option is that is not set.
UNSET = ('""', "0", "0x0", "n")


class Lists:
    """What may be set, and what must be."""

    def __init__(self, lists: list[Path]) -> None:
        self.values: dict[str, str | None] = {}
        self.beginnings: tuple[str, ...] = ()
        self.required: list[str] = []
        for path in lists:
            for line in path.read_text().splitlines():
                self.read(line.partition("#")[0].strip(), path)

    def read(self, line: str, path: Path) -> None:
        """Takes one line; one that could permit anything is an error."""
        if not line:
            return
        match = LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{path}: {line} is no line of a list: NAME, NAME=VALUE, NAME_* or !NAME")
        if match["required"]:
            self.required.append(line[1:])
            self.values[line[1:]] = "y"
        elif match["beginning"]:
            self.beginnings += (line[:-1],)
        else:
            self.values[match["name"]] = match["value"]

    def permit(self, name: str, value: str) -> bool:
        """Whether an option may have this value."""
        if name in self.values:
            return self.values[name] in (None, value)
        return name.startswith(self.beginnings)


def faults(configuration: str, lists: list[Path]) -> list[str]:
    """What a release must not be, in words."""
    known = Lists(lists)
    found = dict(match.groups() for match in map(OPTION.fullmatch, configuration.splitlines()) if match)
    words = [
        f"CONFIG_{name}={value} is not in the list of what a release may have"
        for name, value in found.items()
        if value not in UNSET and not known.permit(name, value)
    ]
    return words + [f"CONFIG_{name} must be y in a release" for name in known.required if found.get(name) != "y"]


def main() -> int:
    config, *lists = map(Path, sys.argv[1:])
    try:
        words = faults(config.read_text(), lists)
    except ValueError as error:
        words = [str(error)]
    for word in words:
        print(word)
    if words:
        print("What a product's own drivers, board and silicon need goes into a list of its own: CONFIG_SENSOR_RELEASE_LIST.")
    return 1 if words else 0


if __name__ == "__main__":
    sys.exit(main())
