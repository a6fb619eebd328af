"""Benchmarks; nothing in the package imports them."""
