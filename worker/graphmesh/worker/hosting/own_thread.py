"""Blocking work, such as loading a model, on a daemon thread of its own: one that hangs does not block the exit."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["on_own_thread"]

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


async def on_own_thread(work: Callable[[_Argument], _Result], argument: _Argument) -> _Result:
    """Return what ``work(argument)`` returns, or raise what it raises.

    Cancellation: the work goes on by itself, and what comes of it is dropped.
    """
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[_Result] = loop.create_future()

    def give(result: _Result | None, error: Exception | None) -> None:
        if waiter.done():
            return
        if error is not None:
            waiter.set_exception(error)
        else:
            waiter.set_result(result)  # type: ignore[arg-type]  # None is then the work's own result

    def run() -> None:
        result, error = None, None
        try:
            result = work(argument)
        except Exception as raised:  # noqa: BLE001 - it is the caller's, on the event loop
            error = raised
        except BaseException as raised:  # noqa: BLE001 - sys.exit() in a model ends nothing
            error = RuntimeError(f"{type(raised).__name__} was raised")
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(give, result, error)

    threading.Thread(target=run, daemon=True).start()
    return await waiter
