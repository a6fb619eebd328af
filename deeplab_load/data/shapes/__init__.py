"""Shapes: the built-in data set of drawn scenes."""
