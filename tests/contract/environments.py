"""Environments of clients whose requirements do not go together with ours; `make clients` runs this module."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2] / ".clients"


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment of one client."""

    name: str
    """Its folder, below `ROOT`."""
    requirement: str
    """What is installed into it."""
    below: tuple[int, int]
    """The first Python that the client does not support."""

    @property
    def supported(self) -> bool:
        """Whether this Python can run the client."""
        return sys.version_info[:2] < self.below

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return ROOT / self.name / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """Holds the requirement once it is installed."""
        return ROOT / self.name / ".installed"

    @property
    def installed(self) -> bool:
        """Whether it is there."""
        return self.stamp.exists() and self.stamp.read_text() == self.requirement

    def check(self) -> None:
        """Skip the test where this Python cannot run the client; fail it where the client is not installed."""
        if not self.supported:
            pytest.skip(f"{self.requirement} needs a Python below {'.'.join(map(str, self.below))}")
        if not self.installed:
            pytest.fail(f"{self.requirement} must be installed below .clients; run: make clients")

    def run(self, program: str, *arguments: str) -> dict[str, Any]:
        """Run a program of this folder in the environment, and return the JSON that it prints."""
        self.check()
        path = Path(__file__).with_name(program)
        done = subprocess.run([self.python, "-I", path, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def install(self) -> None:
        """Make it anew."""
        venv.create(ROOT / self.name, with_pip=True, clear=True)
        pip = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, self.requirement], check=True)
        self.stamp.write_text(self.requirement)


KSERVE = Environment("kserve", "kserve==0.21.*", below=(3, 14))
MLSERVER = Environment("mlserver", "mlserver==1.7.1", below=(3, 13))


def main() -> None:
    """Install what is missing and can be installed."""
    for environment in (KSERVE, MLSERVER):
        if environment.supported and not environment.installed:
            sys.stdout.write(
                f"installing {environment.requirement} into {environment.python.parents[1]}: half a minute\n"
            )
            sys.stdout.flush()
            environment.install()


if __name__ == "__main__":
    main()
