"""The frontier of accuracy: what certified functions and their sums reach."""
