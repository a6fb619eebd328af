"""Evaluation of a segmentor on a data set."""
