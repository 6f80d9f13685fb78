"""The compose file as Compose itself resolves it, and networks of namespaces to run its commands in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]


def _compose_command() -> list[str]:
    """Return Docker's Compose plugin or Debian's `docker-compose`; neither needs an engine for `config`."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            found = subprocess.run([*command, "version"], capture_output=True, check=False)
            if found.returncode == 0:
                return command
    pytest.fail(
        "neither `docker compose` nor `docker-compose` is here; install it: sudo apt-get install docker-compose"
    )


@pytest.fixture(scope="session")
def resolve() -> Callable[..., dict[str, Any]]:
    """Return what resolves one or more compose files, merged in order."""
    command = _compose_command()

    def resolved(*files: str) -> dict[str, Any]:
        arguments = [argument for file in files for argument in ("-f", file)]
        answer = subprocess.run(
            [*command, *arguments, "config"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
        )
        assert answer.returncode == 0, answer.stderr
        document: dict[str, Any] = yaml.safe_load(answer.stdout)
        return document

    return resolved


@pytest.fixture(scope="session")
def services(resolve: Callable[..., dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the services of docker-compose.yml by name."""
    found: dict[str, dict[str, Any]] = resolve("docker-compose.yml")["services"]
    return found
