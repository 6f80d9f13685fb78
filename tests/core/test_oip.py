"""The extensions' requests: checked, and turned into questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tritonclient.grpc import model_config_pb2, service_pb2

from graphmesh.core.errors import GraphmeshError, InvalidRequest, NotFound, Unsupported
from graphmesh.core.oip import RPCS
from graphmesh.oip import open_inference_pb2 as pb
from tests.core.oip_fake import FakeManagement

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message


async def ask(rpc: str, **fields: Any) -> Any:  # noqa: ANN401 - the RPC's own answer
    """Ask a fake."""
    kind, answer = RPCS[rpc]
    return await answer(FakeManagement(), kind(**fields))


async def test_index() -> None:
    """The index lists everything, or only what is ready."""
    assert [entry.name for entry in (await ask("RepositoryIndex")).models] == ["add", "bad"]
    assert [entry.name for entry in (await ask("RepositoryIndex", ready=True)).models] == ["add"]


async def test_load_and_unload() -> None:
    """A model is loaded and unloaded by name; `unload_dependents` may say false, as Triton's client has it."""
    management = FakeManagement()
    await RPCS["RepositoryModelLoad"][1](management, pb.RepositoryModelLoadRequest(model_name="add"))
    request = pb.RepositoryModelUnloadRequest(model_name="add")
    request.parameters["unload_dependents"].bool_param = False
    await RPCS["RepositoryModelUnload"][1](management, request)
    assert management.asked == [("load", "add"), ("unload", "add")]


def with_parameter(kind: Any, name: str, **value: Any) -> Message:  # noqa: ANN401
    """Return a request of a model with a parameter."""
    message: Message = kind(model_name="add")
    message.parameters[name].MergeFrom(pb.ModelRepositoryParameter(**value))  # type: ignore[attr-defined]
    return message


@pytest.mark.parametrize(
    ("rpc", "request_", "kind", "words"),
    [
        ("RepositoryIndex", pb.RepositoryIndexRequest(repository_name="r"), NotFound, "repository_name 'r'"),
        ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(), InvalidRequest, "model_name must name"),
        (
            "RepositoryModelLoad",
            with_parameter(pb.RepositoryModelLoadRequest, "config", string_param="{}"),
            Unsupported,
            "'config'",
        ),
        (
            "RepositoryModelUnload",
            with_parameter(pb.RepositoryModelUnloadRequest, "unload_dependents", bool_param=True),
            Unsupported,
            "unload_dependents",
        ),
        ("ModelStatistics", pb.ModelStatisticsRequest(version="1"), InvalidRequest, "version needs a name"),
        ("ModelConfig", pb.ModelConfigRequest(), InvalidRequest, "name must name"),
        (
            "TraceSetting",
            pb.TraceSettingRequest(settings={"trace_level": pb.TraceSettingRequest.SettingValue(value=["MAX"])}),
            Unsupported,
            "cannot be changed",
        ),
        (
            "LogSettings",
            pb.LogSettingsRequest(settings={"log_info": pb.LogSettingsRequest.SettingValue(bool_param=False)}),
            Unsupported,
            "cannot be changed",
        ),
        ("SystemSharedMemoryRegister", pb.SystemSharedMemoryRegisterRequest(), Unsupported, "shared memory"),
        ("CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest(), Unsupported, "shared memory"),
    ],
)
async def test_what_is_refused(rpc: str, request_: Message, kind: type[GraphmeshError], words: str) -> None:
    """Other repositories, nameless models, files from clients, changed settings and shared memory are refused."""
    with pytest.raises(kind, match=words):
        await RPCS[rpc][1](FakeManagement(), request_)


async def test_settings_are_told() -> None:
    """Nothing is traced; the log's levels are those of the process."""
    assert list((await ask("TraceSetting")).settings["trace_level"].value) == ["OFF"]
    assert (await ask("LogSettings")).settings["log_error"].bool_param


def fields(descriptor: Descriptor) -> dict[str, tuple[int, int, bool]]:
    """Return number, type and whether it repeats, of each field by name."""
    return {field.name: (field.number, field.type, field.is_repeated) for field in descriptor.fields}


@pytest.mark.parametrize("name", sorted(pb.DESCRIPTOR.message_types_by_name))
def test_messages_are_tritons(name: str) -> None:
    """Every field of every message has the number and type it has in Triton's client; so do nested messages."""
    theirs = {**service_pb2.DESCRIPTOR.message_types_by_name, **model_config_pb2.DESCRIPTOR.message_types_by_name}
    pairs = [(pb.DESCRIPTOR.message_types_by_name[name], theirs[name])]
    while pairs:
        ours, other = pairs.pop()
        found = fields(ours)
        if name == "ModelMetadataResponse":
            assert found.pop("properties", (6,))[0] == 6  # the protocol's, which Triton lacks
        assert found.items() <= fields(other).items()
        pairs += [
            (nested, other.nested_types_by_name[nested.name])
            for nested in ours.nested_types
            if nested.name != "PropertiesEntry"
        ]
        for enum in ours.enum_types:
            assert {value.name: value.number for value in enum.values} == {
                value.name: value.number for value in other.enum_types_by_name[enum.name].values
            }


def test_methods_are_tritons() -> None:
    """The service has all of Triton's methods, with its message names."""
    ours, theirs = (
        {method.name: (method.input_type.name, method.output_type.name) for method in service.methods}
        for service in (
            pb.DESCRIPTOR.services_by_name["GRPCInferenceService"],
            service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
        )
    )
    assert ours == theirs
