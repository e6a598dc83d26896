"""What the event files of a run's earlier processes hold that no journal does.

That is times, pictures and histograms.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event


class PastEvents:
    """Event files, each read up to where it is whole.

    A place is a tag and a step. In memory are times and numbers alone: a long run has millions.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self.drawings: dict[tuple[str, int], int] = {}  # number of the first event, by place
        steps: dict[str, array[int]] = defaultdict(lambda: array("q"))
        times: dict[str, array[float]] = defaultdict(lambda: array("d"))
        for number, event in enumerate(self._events()):
            for value in event.summary.value[:1]:  # others of one event have its time
                steps[value.tag].append(event.step)
                times[value.tag].append(event.wall_time)
                if value.WhichOneof("value") in ("image", "histo"):
                    self.drawings.setdefault((value.tag, event.step), number)
        self.times = {tag: _sorted(steps[tag], times[tag]) for tag in steps}

    def when(self, tag: str, step: int) -> float | None:
        """The time of the last event that begins with a place, in seconds since 1970; else None."""
        if tag not in self.times:
            return None
        steps, times = self.times[tag]
        index = int(np.searchsorted(steps, step, side="right")) - 1
        return float(times[index]) if index >= 0 and steps[index] == step else None

    def drawn(self, last_step: int, final: bool) -> Iterator[Event]:
        """Pictures and histograms up to a step, those of the end only where they are asked for."""
        wanted = {
            number
            for (tag, step), number in self.drawings.items()
            if step <= last_step and (final or not tag.startswith("final/"))
        }
        events = enumerate(self._events()) if wanted else ()
        return (event for number, event in events if number in wanted)

    def _events(self) -> Iterator[Event]:
        for path in self.paths:
            yield from LegacyEventFileLoader(str(path)).Load()


def _sorted(steps: "array[int]", times: "array[float]") -> tuple[np.ndarray, np.ndarray]:
    """Both in the order of the steps; equal ones stay in theirs."""
    unsorted = np.array(steps, dtype=np.int64)
    order = np.argsort(unsorted, kind="stable")
    return unsorted[order], np.array(times)[order]
