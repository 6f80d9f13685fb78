"""The delta discovery stream and its resources, without I/O."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from graphmesh.gateway.config import Sockets
from graphmesh.gateway.xds_resources import ENDPOINTS, ROUTE_TABLES, ResourceSet, build
from graphmesh.gateway.xds_stream import DeltaStream
from graphmesh.registry import HostedModel, ModelState, Snapshot, WorkerRecord

if TYPE_CHECKING:
    import pytest

SOCKETS = Sockets("/run/control.sock", "/run/http.sock", "/run/admin.sock")


def content(revision: int, *ids: int) -> ResourceSet:
    """Return the resources of a mesh with workers that host `add`."""
    hosted = (HostedModel(name="add", version="1", state=ModelState.AVAILABLE),)
    workers = {
        f"w{number}": WorkerRecord(
            worker_id=f"w{number}", host="127.0.0.1", http_port=9000 + number, grpc_port=9100 + number, models=hosted
        )
        for number in ids
    }
    return build(Snapshot(revision=revision, workers=workers), {}, SOCKETS)


def subscribe(type_url: str, *names: str, has: dict[str, str] | None = None) -> DeltaDiscoveryRequest:
    """Return a subscription."""
    return DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names, initial_resource_versions=has or {})


def answer_to(response: DeltaDiscoveryResponse, *, refused: str = "") -> DeltaDiscoveryRequest:
    """Return the acknowledgement of a response, or its refusal."""
    request = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
    if refused:
        request.error_detail.message = refused
    return request


def subscribed(stream: DeltaStream) -> list[DeltaDiscoveryResponse]:
    """Subscribe to all that Envoy subscribes to; return the responses."""
    return [
        *stream.request(subscribe(ENDPOINTS, "fast", "grpc")),
        *stream.request(subscribe(ROUTE_TABLES, "mesh")),
    ]


def names(responses: list[DeltaDiscoveryResponse]) -> list[list[str]]:
    """Return the names of the resources in each response."""
    return [[resource.name for resource in response.resources] for response in responses]


def test_subscription_is_answered_and_acknowledged() -> None:
    """What is subscribed is sent once; the revision counts as synced when every type is acknowledged."""
    stream = DeltaStream(content(5, 1))
    sent = subscribed(stream)
    assert names(sent) == [["fast", "grpc"], ["mesh"]]
    assert stream.synced_revision == 0
    assert list(stream.request(answer_to(sent[0]))) == []
    assert stream.synced_revision == 0
    assert list(stream.request(answer_to(sent[1]))) == []
    assert stream.synced_revision == 5


def synced(revision: int, *ids: int) -> DeltaStream:
    """Return a stream whose client has everything."""
    stream = DeltaStream(content(revision, *ids))
    for response in subscribed(stream):
        assert list(stream.request(answer_to(response))) == []
    return stream


def test_only_what_changed_is_sent() -> None:
    """New workers change the endpoints and not the routes."""
    stream = synced(5, 1)
    sent = list(stream.update(content(6, 1, 2)))
    assert names(sent) == [["fast", "grpc"]]
    assert stream.synced_revision == 5
    list(stream.request(answer_to(sent[0])))
    assert stream.synced_revision == 6


def test_equal_content_of_a_new_revision_is_synced_at_once() -> None:
    """A revision that changes nothing for Envoy needs no acknowledgement."""
    stream = synced(5, 1)
    newer = content(9, 1)
    assert list(stream.update(newer)) == []
    assert stream.synced_revision == 9
    assert stream.has(newer)


def test_equal_content_waits_for_what_is_under_way() -> None:
    """A revision equal to one that is not acknowledged yet is synced with it."""
    stream = synced(5, 1)
    (response,) = stream.update(content(6, 1, 2))
    assert list(stream.update(content(7, 1, 2))) == []
    assert stream.synced_revision == 5
    list(stream.request(answer_to(response)))
    assert stream.synced_revision == 7


def test_refusal_is_logged_and_not_synced(caplog: pytest.LogCaptureFixture) -> None:
    """A refused response leaves the synced revision where it was until other content comes."""
    stream = synced(5, 1)
    (response,) = stream.update(content(6, 1, 2))
    with caplog.at_level(logging.ERROR):
        assert list(stream.request(answer_to(response, refused="no such field"))) == []
    assert "no such field" in caplog.text
    assert stream.rejections == 1
    list(stream.update(content(7, 1, 2)))
    assert stream.synced_revision == 5
    (response,) = stream.update(content(8, 1))
    list(stream.request(answer_to(response)))
    assert stream.synced_revision == 8


def test_client_that_comes_back_is_sent_what_differs() -> None:
    """A reconnecting Envoy says what it has; equal versions, also of a restarted server, are not sent again."""
    was = content(5, 1)
    now = content(6, 1, 2)
    has = {name: resource.version for name, resource in was.by_type[ENDPOINTS].items()}
    stream = DeltaStream(now)
    assert names(list(stream.request(subscribe(ENDPOINTS, "fast", "grpc", has=has)))) == [["fast", "grpc"]]
    has = {name: resource.version for name, resource in now.by_type[ROUTE_TABLES].items()}
    assert list(stream.request(subscribe(ROUTE_TABLES, "mesh", has=has))) == []


def test_asking_again_sends_again() -> None:
    """A name subscribed anew is sent even if the version is known; an unsubscribed one no more."""
    stream = synced(5, 1)
    assert names(list(stream.request(subscribe(ENDPOINTS, "fast")))) == [["fast"]]
    list(stream.request(DeltaDiscoveryRequest(type_url=ENDPOINTS, resource_names_unsubscribe=["grpc"])))
    assert names(list(stream.update(content(6)))) == [["fast"]]


def test_unknown_names_are_removed() -> None:
    """A subscription to what does not exist is told so, once."""
    stream = DeltaStream(content(5, 1))
    (response,) = stream.request(subscribe(ENDPOINTS, "other"))
    assert list(response.removed_resources) == ["other"]
    assert list(stream.update(content(6, 2))) == []


def test_a_revision_may_go_backwards() -> None:
    """A registry that lost its data starts counting anew; Envoy is still told."""
    stream = synced(500, 1)
    (response,) = stream.update(content(3, 2))
    list(stream.request(answer_to(response)))
    assert stream.synced_revision == 3


def test_endpoints_carry_models_ports_and_the_absent_one() -> None:
    """An endpoint is a worker with its models; both clusters check health on the HTTP port; the last one is absent."""
    by_name = {}
    for name, resource in content(5, 1).by_type[ENDPOINTS].items():
        assignment = endpoint_pb2.ClusterLoadAssignment()
        assert resource.body.Unpack(assignment)
        by_name[name] = assignment.endpoints[0].lb_endpoints
    fast, grpc = by_name["fast"], by_name["grpc"]
    assert fast[0].endpoint.address.socket_address.port_value == 9001
    assert grpc[0].endpoint.address.socket_address.port_value == 9101
    assert grpc[0].endpoint.health_check_config.port_value == 9001
    metadata = fast[0].metadata.filter_metadata["envoy.lb"]
    assert list(metadata["model"]) == ["add"]
    assert list(metadata["model_version"]) == ["add@1"]
    assert fast[1].endpoint.address.pipe.path == SOCKETS.http
    assert grpc[1].endpoint.address.pipe.path == SOCKETS.control
    assert fast[1].metadata.filter_metadata["envoy.lb"]["absent"] == "yes"
    assert fast[1].endpoint.health_check_config.disable_active_health_check


def test_versions_are_of_the_content_alone() -> None:
    """Equal content has equal versions whatever the revision; other content has others."""
    first, same, other = content(5, 1, 2), content(8, 1, 2), content(8, 1)
    assert first.version == same.version
    assert first.version != other.version
    assert replace(first, revision=1).version == first.version
