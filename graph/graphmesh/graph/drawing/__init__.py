"""Graphs, plans and what happened in one call, as pictures and text."""
