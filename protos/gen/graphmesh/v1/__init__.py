"""graphmesh's own protocol, generated."""
