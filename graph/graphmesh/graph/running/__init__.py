"""One call of a graph, from its plan to its answer; a worker lends it calls, tasks and a clock."""
