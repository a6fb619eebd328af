"""Algorithm 1 of the article: the map aggregation buffer B."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MapSet:
    """One set of generated label maps, g(X_t): its name and the snapshot of the g that made it."""

    name: str
    snapshot: str


def aggregate(
    buffer: tuple[MapSet, ...], ending: MapSet, peak: MapSet | None, *, buffer_size: int
) -> tuple[MapSet, ...]:
    """Aggregates the label-map sets of a finished cycle (Algorithm 1).

    Args:
      buffer: B before the cycle ended; B[0] is the set of the last peak, or of g_0.
      ending: g_e(X_t), the set of the cycle's last model.
      peak: g*(X_t), the set of the cycle's new peak; None where none was found.
      buffer_size: B_max, at least 2.

    Returns:
      B after the cycle: flushed to (peak, ending) at a new peak; otherwise with the ending appended, and the oldest
      ending, B[1], deleted first where B was full.
    """
    if peak is not None:
        return (peak, ending)
    if len(buffer) == buffer_size:
        buffer = buffer[:1] + buffer[2:]
    return (*buffer, ending)
