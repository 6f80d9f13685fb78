"""Operations on tensors that need no model: written, typed, run with numpy."""
