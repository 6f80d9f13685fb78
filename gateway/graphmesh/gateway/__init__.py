"""The gateway: one Envoy as data plane, and the control plane that configures and supervises it."""

from graphmesh.gateway.config import GatewayConfig
from graphmesh.gateway.envoy import stop_envoy
from graphmesh.gateway.process import Gateway, run_gateway

__all__ = ["Gateway", "GatewayConfig", "run_gateway", "stop_envoy"]
