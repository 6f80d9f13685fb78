"""The store for real: etcd's v3 API over `grpc.aio`, on the generated stubs that the `aetcd` package ships.

Only the stubs: aetcd's own client knows one endpoint, no TLS and no resuming of a watch (docs/decisions/0002).

Several endpoints are tried in order, starting with the one that answered last; a call divides its time among them, so
that one stopped endpoint does not use it up. Repeating a write at another endpoint is safe because every write of the
registry is guarded or idempotent. A watch stays on one endpoint; it asks for progress every second, so that silence
means the endpoint (or the way to it) is gone, whatever TCP believes. `hasleader` makes a member without quorum say so.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from aetcd import rpc
from aetcd.rpc import rpc_pb2_grpc

from graphmesh.core.errors import GraphmeshError, NotFound, RegistryUnavailable, from_code
from graphmesh.registry._keep_alive import LeaseThread
from graphmesh.registry.kv import (
    ANSWER_WITHIN_S,
    HEARTBEAT_S,
    SILENCE_S,
    Batch,
    Event,
    KeyValue,
    Listing,
    Outcome,
    Put,
    Target,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from graphmesh.registry.kv import KV, Compare, KeepAlive, Op

__all__ = ["CHANNEL_OPTIONS", "connect"]

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.enable_http_proxy", 0),  # etcd is never behind the user's web proxy
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # The least of the three also bounds one attempt to connect: SYNs into a partition would otherwise be repeated by
    # the kernel at growing intervals, long after it healed.
    ("grpc.min_reconnect_backoff_ms", 1_000),
    # Finds connections that a partition left half open. etcd refuses pings more often than every 5 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Each client its own connections: one that is stuck must not be handed to the next.
    ("grpc.use_local_subchannel_pool", 1),
)

_NO_KEY = b"\0"
"""Asks for nothing but the revision."""
_PAGE = 2_000
"""Keys read at once, so that a large catalogue is many answers in time, not one that is late."""
_HAS_LEADER = (("hasleader", "true"),)
_NOT_ANSWERING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.ABORTED,
    }
)


def connect(endpoints: Sequence[str], *, credentials: grpc.ChannelCredentials | None = None) -> KV:
    """Return the store behind etcd endpoints (``host:port``); connects at the first call.

    Args:
        endpoints: Members of one cluster, in order of preference.
        credentials: For TLS; None talks plain text.
    """
    return EtcdKV(endpoints, credentials=credentials)


class EtcdKV:
    """etcd, as `kv.KV`."""

    def __init__(self, endpoints: Sequence[str], *, credentials: grpc.ChannelCredentials | None = None) -> None:
        if not endpoints:
            raise ValueError("at least one etcd endpoint (host:port) must be given")
        self._endpoints = tuple(endpoints)
        self._credentials = credentials
        self._channels: dict[int, grpc.aio.Channel] = {}
        self._preferred = 0

    def _channel(self, index: int) -> grpc.aio.Channel:
        if index not in self._channels:
            self._channels[index] = self._open(index)
        return self._channels[index]

    def _open(self, index: int) -> grpc.aio.Channel:
        target, options = self._endpoints[index], list(CHANNEL_OPTIONS)
        if self._credentials is None:
            return grpc.aio.insecure_channel(target, options=options)
        return grpc.aio.secure_channel(target, self._credentials, options=options)

    async def _call(self, method: Callable[[grpc.aio.Channel], Any], request: Any, timeout_s: float) -> Any:  # noqa: ANN401
        """Ask one endpoint after the other until one answers."""
        ends_at = asyncio.get_running_loop().time() + timeout_s
        count, first = len(self._endpoints), self._preferred
        failure: grpc.aio.AioRpcError | None = None
        for attempt in range(count):
            index = (first + attempt) % count
            left = ends_at - asyncio.get_running_loop().time()
            try:
                answer = await method(self._channel(index))(request, timeout=max(0.0, left / (count - attempt)))
            except grpc.aio.AioRpcError as error:
                if error.code() not in _NOT_ANSWERING:
                    raise _refused(error) from error
                failure = error
            else:
                self._preferred = index
                return answer
        raise self._unavailable(failure) from failure

    def _unavailable(self, error: grpc.aio.AioRpcError | None) -> RegistryUnavailable:
        detail = (error.details() or error.code().name) if error else "no answer"
        where = ", ".join(self._endpoints)
        return RegistryUnavailable(
            f"etcd at {where} must answer within {ANSWER_WITHIN_S:g} s, got: {detail[:200]}; "
            "inference goes on, repeat the change when etcd is back"
        )

    async def get(self, keys: Sequence[str], *, timeout_s: float = ANSWER_WITHIN_S) -> Listing:
        """See `KV.get`.

        Ranges at one revision, not one transaction: etcd 3.5.1, the wheel's, panics when the caller of a transaction
        that only reads goes away.
        """
        ordered = [_raw(key) for key in sorted(set(keys))] or [_NO_KEY]
        first = await self._range(rpc.RangeRequest(key=ordered[0]), timeout_s)
        later = [rpc.RangeRequest(key=key, revision=first.header.revision) for key in ordered[1:]]
        pages = [first, *await asyncio.gather(*(self._range(request, timeout_s) for request in later))]
        return _listing(first.header, [kv for page in pages for kv in page.kvs])

    async def list(self, prefix: str, *, keys_only: bool = False, timeout_s: float = ANSWER_WITHIN_S) -> Listing:
        """See `KV.list`."""
        request = rpc.RangeRequest(key=_raw(prefix), range_end=_end(prefix), keys_only=keys_only, limit=_PAGE)
        page = await self._range(request, timeout_s)
        header, kvs = page.header, list(page.kvs)
        while page.more:
            # The rest as of the same revision: together the pages are one listing.
            request.key, request.revision = kvs[-1].key + b"\0", header.revision
            page = await self._range(request, timeout_s)
            kvs += page.kvs
        return _listing(header, kvs)

    async def _range(self, request: rpc.RangeRequest, timeout_s: float) -> rpc.RangeResponse:
        return await self._call(lambda c: rpc_pb2_grpc.KVStub(c).Range, request, timeout_s)

    async def txn(
        self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float = ANSWER_WITHIN_S
    ) -> Outcome:
        """See `KV.txn`."""
        request = rpc.TxnRequest(compare=[_compare(c) for c in compares], success=[_op(op) for op in ops])
        answer = await self._call(lambda c: rpc_pb2_grpc.KVStub(c).Txn, request, timeout_s)
        return Outcome(succeeded=answer.succeeded, revision=answer.header.revision)

    async def watch(self, prefix: str, *, revision: int) -> AsyncGenerator[Batch, None]:
        """See `KV.watch`."""
        create = rpc.WatchCreateRequest(key=_raw(prefix), range_end=_end(prefix), start_revision=revision)
        call = rpc_pb2_grpc.WatchStub(self._channel(self._preferred)).Watch(_requests(create), metadata=_HAS_LEADER)
        try:
            while True:
                async with asyncio.timeout(SILENCE_S):
                    response = await call.read()
                if response is grpc.aio.EOF or response.canceled:
                    reason = getattr(response, "cancel_reason", "") or "the stream ended"
                    raise RegistryUnavailable(f"the watch from revision {revision} broke: {reason}; list again")
                yield _batch(response)
        except TimeoutError as error:
            raise RegistryUnavailable(f"the watch was silent for {SILENCE_S:g} s; list again") from error
        except grpc.aio.AioRpcError as error:
            raise self._unavailable(error) from error
        finally:
            call.cancel()

    async def grant(self, ttl_s: float) -> int:
        """See `KV.grant`."""
        request = rpc.LeaseGrantRequest(TTL=math.ceil(ttl_s))
        answer = await self._call(lambda c: rpc_pb2_grpc.LeaseStub(c).LeaseGrant, request, ANSWER_WITHIN_S)
        return int(answer.ID)

    async def revoke(self, lease: int) -> None:
        """See `KV.revoke`."""
        request = rpc.LeaseRevokeRequest(ID=lease)
        try:
            await self._call(lambda c: rpc_pb2_grpc.LeaseStub(c).LeaseRevoke, request, ANSWER_WITHIN_S)
        except NotFound:
            return

    def keep_alive(self, lease: int, *, ttl_s: float, gone: Callable[[], None]) -> KeepAlive:
        """See `KV.keep_alive`; here a thread of its own."""
        return LeaseThread(
            self._endpoints, self._credentials, CHANNEL_OPTIONS, lease=lease, ttl_s=ttl_s, gone=gone
        ).start()

    async def close(self) -> None:
        """See `KV.close`."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()


async def _requests(create: rpc.WatchCreateRequest) -> AsyncIterator[rpc.WatchRequest]:
    """Begin a watch, then ask for a sign of life for as long as it is wanted."""
    yield rpc.WatchRequest(create_request=create)
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        yield rpc.WatchRequest(progress_request=rpc.WatchProgressRequest())


def _raw(key: str) -> bytes:
    # Keys of others may be any bytes; this spelling brings each of them back.
    return key.encode(errors="surrogateescape")


def _end(prefix: str) -> bytes:
    """Return the first key after all that start with ``prefix``; ours end in a slash, which has a successor."""
    raw = _raw(prefix)
    return raw[:-1] + bytes([raw[-1] + 1])


def _compare(compare: Compare) -> rpc.Compare:
    if compare.target is Target.LEASE:
        return rpc.Compare(key=_raw(compare.key), target=rpc.Compare.LEASE, lease=compare.equals)
    return rpc.Compare(key=_raw(compare.key), target=rpc.Compare.MOD, mod_revision=compare.equals)


def _op(op: Op) -> rpc.RequestOp:
    if isinstance(op, Put):
        return rpc.RequestOp(request_put=rpc.PutRequest(key=_raw(op.key), value=op.value, lease=op.lease))
    return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=_raw(op.key)))


def _item(kv: Any) -> KeyValue:  # noqa: ANN401
    return KeyValue(
        key=kv.key.decode(errors="surrogateescape"), value=kv.value, mod_revision=kv.mod_revision, lease=kv.lease
    )


def _listing(header: Any, kvs: Any) -> Listing:  # noqa: ANN401
    return Listing(cluster_id=header.cluster_id, revision=header.revision, items=tuple(_item(kv) for kv in kvs))


def _batch(response: Any) -> Batch:  # noqa: ANN401
    return Batch(
        response.header.cluster_id, response.header.revision, tuple(_event(event) for event in response.events)
    )


def _event(event: Any) -> Event:  # noqa: ANN401
    item = _item(event.kv)
    return Event(item.key, item if event.type == event.PUT else None, item.mod_revision)


def _refused(error: grpc.aio.AioRpcError) -> GraphmeshError:
    """Return the error for an answer that is a refusal: no space, too large, no such lease, not allowed."""
    return from_code(error.code().value[0], f"etcd refused: {(error.details() or error.code().name)[:200]}")
