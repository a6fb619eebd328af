"""Algorithm 1 of the article: the map aggregation buffer B."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MapSet:
    """One set of generated label maps, g(X_t).

    Attributes:
      name: of the set.
      snapshot: of the g that made it.
      ending: whether that was the last model of a cycle; else a peak's, or g_0.
      propagation: the propagations of the run before it.
    """

    name: str
    snapshot: str
    ending: bool = False
    propagation: int = 0


def aggregate(
    buffer: tuple[MapSet, ...], ending: MapSet, peak: MapSet | None, *, buffer_size: int, retain: int = 1
) -> tuple[MapSet, ...]:
    """Aggregates the label-map sets of a finished cycle (Algorithm 1).

    Args:
      buffer: B before the cycle ended: first the sets of peaks (g_0's counts as one), then those of endings, each from
        old to new.
      ending: g_e(X_t), the set of the cycle's last model.
      peak: g*(X_t), the set of the cycle's new peak; None where none was found.
      buffer_size: B_max, above `retain`.
      retain: the number of newest peaks whose sets stay; 1 flushes as the article does, more is its future work.

    Returns:
      B after the cycle: at a new peak the `retain` newest peaks' sets and the ending; otherwise B with the ending
      appended, and the oldest ending (B[1] of the article) deleted first where B was full; more where a fork lowered
      `buffer_size` or `retain`.
    """
    peaks = tuple(m for m in buffer if not m.ending)
    if peak is not None:
        return (*(*peaks, peak)[-retain:], ending)
    endings, peaks = buffer[len(peaks) :], peaks[-retain:]
    room = buffer_size - len(peaks) - 1
    return (*peaks, *endings[max(len(endings) - room, 0) :], ending)
