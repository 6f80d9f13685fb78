"""Whether a graph can work, and the types of its tensors."""
