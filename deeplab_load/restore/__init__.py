"""TF1 checkpoints: reading, recognising, restoring and writing."""
