"""Optimiser steps, stages and runs."""
