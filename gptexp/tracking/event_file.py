"""One event file, as TensorBoard finds and reads it. Torch-free."""

import os
import socket
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter


class EventFile:
    """One event file, written in order; the caller owns the thread."""

    def __init__(self, folder: Path) -> None:
        now, host = time.time(), socket.gethostname()
        # The name by which TensorBoard finds and orders the files of one run.
        name = f"events.out.tfevents.{now:017.6f}.{host}.{os.getpid()}"
        self.path = folder / name
        self.file = self.path.open("xb")
        self.records = RecordWriter(self.file)
        self.add(file_version="brain.Event:2")

    def add(self, wall_time: float | None = None, **fields: Any) -> None:
        self.write(Event(wall_time=wall_time or time.time(), **fields))

    def write(self, event: Event) -> None:
        self.records.write(event.SerializeToString())

    def flush(self) -> None:
        """Flush the file; raises FileNotFoundError when it was removed, which writing would not."""
        self.file.flush()
        self.path.stat()

    def close(self) -> None:
        self.flush()
        self.file.close()
