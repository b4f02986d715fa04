"""Proofs about networks: how fast they move at most, and how far rounding carries them."""
