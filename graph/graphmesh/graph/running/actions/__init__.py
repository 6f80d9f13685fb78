"""What composed steps do, one module for each kind: which branches run, and whose answer is the step's."""
