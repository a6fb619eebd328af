"""Stanford Background (iccv09Data)."""
