"""Cityscapes, fine annotations."""
