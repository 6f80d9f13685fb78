"""A local etcd as a child, for `graphmesh up`: found, started, watched over, stopped.

The child has its own session, so that Ctrl-C in the terminal reaches graphmesh only, which then stops what depends on
etcd first. If it dies it is started again, at the same address over the same data. A folder belongs to one running
`LocalEtcd` (a file lock); an etcd left behind by one that was killed is recognised by its recorded process id *and* its
command line, and stopped first.

Writes are synced to disk as in production (no `--unsafe-no-fsync`): a mesh writes a handful of times a minute, so the
few milliseconds buy nothing, and a laptop that loses power would lose its graphs.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import platform
import random
import signal
import socket
import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import GraphmeshError, StartFailed
from graphmesh.registry import _tasks
from graphmesh.registry._backoff import Backoff
from graphmesh.registry.etcd import connect
from graphmesh.registry.etcd_binary import EtcdBinary, find_etcd

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["LocalEtcd"]

_log = logging.getLogger(__name__)

_START_WITHIN_S = 20.0
_STOP_WITHIN_S = 5.0
_HOST = "127.0.0.1"


class LocalEtcd:
    """One etcd, supervised. Use as an async context manager.

    The folder holds `data/`, `etcd.log` and `etcd.pid`.
    """

    def __init__(self, data_dir: Path, *, port: int = 0, binary: EtcdBinary | None = None) -> None:
        self._folder = data_dir
        self._port = port
        self._peer_port = 0
        self._binary = binary
        self._lock: IO[str] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._restarts = 0

    @property
    def endpoint(self) -> str:
        """Where clients reach it: `127.0.0.1:PORT`. Stays the same over restarts."""
        return f"{_HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """The process id now; 0 while there is none."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    @property
    def restarts(self) -> int:
        """How often it died and was started again."""
        return self._restarts

    @property
    def binary(self) -> EtcdBinary:
        """What runs; known once entered."""
        if self._binary is None:
            raise RuntimeError("LocalEtcd must be entered before its binary is known")
        return self._binary

    async def __aenter__(self) -> Self:
        """Start etcd and wait until it answers.

        Raises:
            StartFailed: no binary, the folder is in use, the port is taken, or it does not come up; the message names
                its log (FAILED_PRECONDITION, retry: no).
        """
        if self._binary is None:
            self._binary = await asyncio.to_thread(find_etcd)
        self._take_folder()
        try:
            await self._stop_leftover()
            self._choose_ports()
            await self._start()
            await self._wait_until_healthy()
        except BaseException:
            await self._stop()
            self._leave_folder()
            raise
        self._supervisor = _tasks.start(self._supervise(), "etcd supervisor")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop etcd: SIGTERM, and SIGKILL if it is still there after 5 s."""
        if self._supervisor:
            await _tasks.stop(self._supervisor)
        await self._stop()
        self._leave_folder()

    # The folder

    def _take_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self._folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise StartFailed(
                f"another graphmesh must not be using {self._folder}; stop it (graphmesh down) or give another folder"
            ) from None

    def _leave_folder(self) -> None:
        (self._folder / "etcd.pid").unlink(missing_ok=True)
        if self._lock:
            self._lock.close()

    async def _stop_leftover(self) -> None:
        """Stop an etcd over our data whose supervisor was killed; we hold the lock, so nobody else looks after it."""
        try:
            pid = int((self._folder / "etcd.pid").read_text())
        except (OSError, ValueError):
            return
        if not self._is_ours(pid):
            return
        _log.info("stopping the etcd that a killed graphmesh left behind pid=%d", pid)
        for sent in (signal.SIGTERM, signal.SIGKILL):
            _signal(pid, sent)
            deadline = Deadline.after(_STOP_WITHIN_S)
            while deadline.remaining() > 0:
                if not self._is_ours(pid):
                    return
                await asyncio.sleep(0.05)
        raise StartFailed(f"the etcd left behind as process {pid} must end when killed; end it, then start again")

    def _is_ours(self, pid: int) -> bool:
        """Return whether a process is an etcd over this folder; a process id alone may be anybody's by now."""
        return f"--data-dir={self._data}" in _command_line(pid)

    @property
    def _data(self) -> Path:
        return self._folder.resolve() / "data"

    # The process

    def _choose_ports(self) -> None:
        if self._port:
            _check_free(self._port)
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
            for each in sockets:
                each.bind((_HOST, 0))
            self._peer_port, free = (each.getsockname()[1] for each in sockets)
        self._port = self._port or free

    async def _start(self) -> None:
        client, peer = f"http://{self.endpoint}", f"http://{_HOST}:{self._peer_port}"
        command = [str(self.binary.path), "--name=local", f"--data-dir={self._data}"]
        command += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        command += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        command += [f"--initial-cluster=local={peer}", "--logger=zap", "--log-level=warn"]
        # History is only for watches that lag; one that lags more than a thousand revisions lists again.
        command += ["--auto-compaction-mode=revision", "--auto-compaction-retention=1000"]
        with (self._folder / "etcd.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **_unsupported_platform()},
            )
        (self._folder / "etcd.pid").write_text(f"{self._process.pid}\n")

    async def _wait_until_healthy(self) -> None:
        kv = connect([self.endpoint])
        deadline = Deadline.after(_START_WITHIN_S)
        try:
            while True:
                try:
                    await kv.get(["health"])
                except GraphmeshError as error:
                    self._check_coming_up(deadline, error)
                    await asyncio.sleep(0.05)
                else:
                    return
        finally:
            await kv.close()

    def _check_coming_up(self, deadline: Deadline, error: GraphmeshError) -> None:
        died = self._process is not None and self._process.returncode is not None
        if died or deadline.remaining() < 0:
            why = "it ended" if died else error.message
            raise StartFailed(
                f"etcd must answer at {self.endpoint} within {_START_WITHIN_S:g} s: {why}; "
                f"see {self._folder / 'etcd.log'}"
            )

    async def _supervise(self) -> None:
        backoff = Backoff(random.Random())  # noqa: S311 - spreads load, guards nothing
        while self._process:
            code = await self._process.wait()
            self._restarts += 1
            _log.warning("etcd died, starting it again code=%d restarts=%d", code, self._restarts)
            await asyncio.sleep(backoff.next())
            try:
                await self._start()
            except OSError as error:
                _log.error("etcd could not be started again error=%s", error)

    async def _stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        # One that was stopped (SIGSTOP) would not see the signal.
        self._process.send_signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def _command_line(pid: int) -> str:
    """Return a process's command line; empty if it has ended."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            return ""
    ps = ["ps", "-o", "command=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603


def _signal(pid: int, sent: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sent)
        os.kill(pid, signal.SIGCONT)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise StartFailed(f"port {port} must be free for etcd: {error.strerror}; choose another") from None


def _unsupported_platform() -> dict[str, str]:
    """Return what makes etcd 3.4 run on arm64, where it was not yet tested as thoroughly."""
    return {"ETCD_UNSUPPORTED_ARCH": "arm64"} if platform.machine() in {"aarch64", "arm64"} else {}
