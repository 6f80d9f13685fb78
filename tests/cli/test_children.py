"""Supervised children: their lines, their restarts, and how they are stopped.

The interpreter that `Child` starts is replaced by a shell script, so no mesh is needed.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from graphmesh.cli import children
from graphmesh.cli.children import Child

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    Start = Callable[..., Child]


@pytest.fixture
def said() -> list[str]:
    """Return the lines that children said."""
    return []


@pytest.fixture
async def child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> AsyncIterator[Callable[[str], Child]]:
    """Return what makes a child of a shell script; children are stopped when the test is over."""
    made: list[Child] = []
    monkeypatch.setattr(children, "_FIRST_PAUSE_S", 0.01)

    def make(script: str) -> Child:
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        monkeypatch.setattr("sys.executable", str(program))
        made.append(Child("w-1", ["worker", "--flag"], say=said.append))
        return made[-1]

    yield make
    for one in made:
        await one.stop(grace_s=5)


async def until(condition: Callable[[], object]) -> None:
    """Wait until something another process does has happened."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.01)


async def test_lines_are_said_with_the_childs_name(child: Start, said: list[str]) -> None:
    """Output and errors come through line by line, prefixed; the last line is kept."""
    one = child('echo "$@"; echo wrong >&2; exec sleep 60')
    await one.start()
    await until(lambda: len(said) == 2)
    assert said == ["[w-1] -m graphmesh.cli worker --flag", "[w-1] wrong"]
    assert one.last_line == "wrong"


async def test_a_child_has_a_session_of_its_own(child: Start) -> None:
    """Ctrl-C in the terminal does not reach a child."""
    one = child("exec sleep 60")
    await one.start()
    assert one.pid is not None
    assert os.getsid(one.pid) == one.pid != os.getsid(0)


async def test_a_child_that_ends_is_started_again(child: Start, said: list[str]) -> None:
    """A child that ends comes back, after a pause that doubles; how it ended is known."""
    one = child("echo up; exit 7")
    await one.start()
    await until(lambda: said.count("[w-1] up") == 3)
    assert one.exit_code == 7
    pauses = [line for line in said if "starting it again" in line]
    assert pauses[:2] == [f"[w-1] ended with exit code 7; starting it again in {p:.1f} s" for p in (0.01, 0.02)]


async def test_ended_is_set_while_it_does_not_run(
    child: Start, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its end and its next start a child has ended and has no process id."""
    monkeypatch.setattr(children, "_FIRST_PAUSE_S", 60.0)
    one = child("exit 3")
    assert not one.ended.is_set()
    await one.start()
    async with asyncio.timeout(10):
        await one.ended.wait()
    assert (one.exit_code, one.pid) == (3, None)


async def test_a_stopped_child_stays_stopped(child: Start, said: list[str]) -> None:
    """SIGTERM lets it say its last words, and it is not started again."""
    one = child("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done")
    await one.start()
    await until(lambda: said == ["[w-1] up"])
    await one.stop(grace_s=10)
    assert said == ["[w-1] up", "[w-1] bye"]
    assert one.pid is None


async def test_a_child_that_ignores_sigterm_is_killed(child: Start, said: list[str]) -> None:
    """After the grace a child is killed, and that is said."""
    one = child("trap '' TERM; echo up; while :; do sleep 0.02; done")
    await one.start()
    await until(lambda: said == ["[w-1] up"])
    await one.stop(grace_s=0.1)
    assert one.pid is None
    assert said[1:] == ["[w-1] did not stop within 0 s and is killed"]


async def test_stopping_what_does_not_run(child: Start) -> None:
    """A child that never started, and one that has ended, can be stopped."""
    await child("exit 0").stop(grace_s=1)
    ended = child("exit 0")
    await ended.start()
    async with asyncio.timeout(10):
        await ended.ended.wait()
    await ended.stop(grace_s=1)
    assert ended.pid is None
