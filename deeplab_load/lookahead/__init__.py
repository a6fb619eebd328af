"""Lookahead adversarial learning: Algorithms 1 and 3, free of TensorFlow."""
