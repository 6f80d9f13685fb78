"""The HTTP shell: the fast path, JSON, streams of events, probes."""
