"""Data sets, batches and label-map sets."""
