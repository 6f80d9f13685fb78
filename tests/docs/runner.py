"""Runs documents: writes the files they show, runs the commands they show, compares what comes out.

A fenced block that begins with ``language title="NAME"`` is a file. A block that begins with ``console execute`` holds
lines ``$ command`` (continued by a backslash), each followed by what it prints; ``...`` stands for anything within a
line, and on a line of its own for any lines. Commands must succeed; no output shown means that none is compared.
``console execute eventually`` repeats a command until it prints what is shown. Other blocks are left alone.
"""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Block", "Runner", "matches", "read_blocks"]

_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_STEP = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_COMMAND_S = 120.0
_EVENTUALLY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block."""

    language: str
    """First word after the fence."""
    info: str
    """What follows it."""
    text: str
    """The lines between the fences."""

    @property
    def title(self) -> str:
        """The file that the block is; empty if it is none."""
        found = re.search(r'title="([^"]+)"', self.info)
        return found[1] if found else ""

    @property
    def executed(self) -> bool:
        """Whether its commands are to be run."""
        return self.language == "console" and "execute" in self.info.split()

    @property
    def steps(self) -> list[tuple[str, str]]:
        """The commands, each with what it should print."""
        return _STEP.findall(self.text)


def read_blocks(document: Path) -> list[Block]:
    """Return the fenced blocks of a document in order."""
    return [Block(language=found[1], info=found[2], text=found[3]) for found in _FENCE.finditer(document.read_text())]


def matches(expected: str, printed: str) -> bool:
    """Return whether a command printed what is shown, however wide the columns of a table turn out to be."""
    lines = _lines(expected)
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else "[^\n]*".join(map(re.escape, re.split(r" *\.{3} *", line))) + r"\n"
        for line in lines
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(printed))) is not None


def _lines(text: str) -> list[str]:
    return [re.sub(r"(?<=\S) {2,}", "  ", line.rstrip()) for line in text.strip().splitlines()]


class Runner:
    """Runs documents in a folder.

    Args:
        folder: Where files are written and commands run.
        environment: Variables of the commands.
        replace: Text in documents that stands for something else here, such as an address.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], *, replace: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._replace = dict(replace)

    def run(self, document: Path) -> None:
        """Run one document from its first line to its last."""
        for block in read_blocks(document):
            if block.title:
                (self._folder / block.title).write_text(self._here(block.text))
            elif block.executed:
                for command, expected in block.steps:
                    patience_s = _EVENTUALLY_S if "eventually" in block.info.split() else 0.0
                    self._step(self._here(command), self._here(expected), patience_s=patience_s)

    def command(self, command: str) -> tuple[int, str]:
        """Run a command; return its exit code and what it printed."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_COMMAND_S,
        )
        return done.returncode, done.stdout

    def _here(self, text: str) -> str:
        for there, here in self._replace.items():
            text = text.replace(there, here)
        return text

    def _step(self, command: str, expected: str, *, patience_s: float) -> None:
        limit = time.monotonic() + patience_s
        while True:
            code, printed = self.command(command)
            assert code == 0, f"$ {command}\nended with {code}:\n{printed}"
            if not expected.strip() or matches(expected, printed):
                return
            assert time.monotonic() < limit, f"$ {command}\nprinted:\n{printed}\nexpected:\n{expected}"
            time.sleep(0.5)
