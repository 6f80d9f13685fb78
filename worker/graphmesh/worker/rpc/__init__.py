"""The gRPC shell: streams, compressed and transcoded calls, and whoever calls a worker directly."""
