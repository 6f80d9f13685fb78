"""Runs a gateway as a process for tests: ``python run_gateway.py CONFIG``, JSON of GatewayConfig's fields."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

from graphmesh.core.errors import GraphmeshError
from graphmesh.gateway import GatewayConfig, run_gateway


def main(text: str) -> int:
    """Run until a signal; a refused start prints its message and returns 2."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    fields = json.loads(text)
    try:
        config = GatewayConfig(**{**fields, "run_dir": Path(fields["run_dir"]), "etcd": tuple(fields["etcd"])})
        return asyncio.run(run_gateway(config))
    except GraphmeshError as error:
        sys.stderr.write(f"{type(error).__name__}: {error.message}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
