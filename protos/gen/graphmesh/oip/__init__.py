"""Open Inference Protocol, generated."""
