"""What a folder's description says, where the worker's own configuration says nothing."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from graphmesh.core.errors import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.worker.config import ModelConfig

__all__ = ["merge"]

_TRUST = ("module", "trusted")
"""Parameters that let code run."""


def merge(config: ModelConfig, found: Mapping[str, object]) -> ModelConfig:
    """Return a configuration with ``found`` in the fields that are as they were by default, and its `source`.

    Parameters are merged one by one.

    Raises:
        LoadFailed: the folder would allow code that the configuration does not; says what to write into it.
    """
    _check_trust(config, found)
    changes: dict[str, object] = {}
    for field in dataclasses.fields(config):
        if field.name not in found:
            continue
        if field.name == "parameters":
            changes["parameters"] = {**_mapping(found["parameters"]), **config.parameters}
        elif field.name == "source" or getattr(config, field.name) == field.default:
            changes[field.name] = found[field.name]
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def _check_trust(config: ModelConfig, found: Mapping[str, object]) -> None:
    lines = [] if config.sha256 or not found.get("sha256") else [f"sha256: {found['sha256']}"]
    parameters = _mapping(found.get("parameters"))
    lines += [
        f"parameters: {json.dumps({name: value}, default=str)}"
        for name, value in parameters.items()
        if name in _TRUST and name not in config.parameters
    ]
    if lines:
        raise LoadFailed(
            "a folder cannot allow its own code to run; if you trust it, add this line to the model in mesh.yaml: "
            + lines[0]
        )


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
