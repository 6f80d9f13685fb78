"""Where the calls of a graph run, and what crosses the network."""
