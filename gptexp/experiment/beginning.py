"""A run's directory made of what another run left, to be taken up as one that was interrupted."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gptexp.config import Config, Keep, beginning_hash, to_dict, to_yaml
from gptexp.experiment.identity import Identity
from gptexp.experiment.record import Record
from gptexp.experiment.reuse import resealed
from gptexp.experiment.screen import EVENTS
from gptexp.files import copy_file, link_or_copy, made_aside
from gptexp.runs import checkpoint
from gptexp.runs.checkpoint import Resumable, State, Store
from gptexp.runs.directory import RunDirectory
from gptexp.runs.state import RunState

Line = dict[str, Any]  # of a journal


@dataclass(frozen=True)
class Beginning:
    """What a run goes on from. The caller holds the lock of the record's directory."""

    record: Record
    newest: Resumable  # its checkpoint at the end of what is taken
    changes: State  # of that checkpoint's state, beside whose it is
    metrics: list[Line]
    samples: list[Line]

    def make(
        self, config: Config, identity: Identity, manifest: Mapping[str, Any], reason: str
    ) -> None:
        """Put it in the directory of the run, in one step, with these values in its manifest.

        Raises GptexpError, and OSError, as where another process was faster.
        """
        record = self.record
        with made_aside(identity.directory.path) as folder:
            new = RunDirectory(folder)
            new.checkpoints.mkdir(parents=True)
            self._save(Store(new.checkpoints, config.trainer.keep), config, identity)
            new.write_text("metrics.jsonl", _written(self.metrics))
            new.write_text("samples.jsonl", _written(self.samples))
            if record.directory.log.is_file():
                copy_file(record.directory.log, new.log)
            for events in record.path.glob(EVENTS) if config.logger.tensorboard else ():
                link_or_copy(events, new.path / events.name)
            new.write_text("config.yaml", to_yaml(config))
            own = {"run": identity.directory.path.name, "config_hash": identity.hash, **manifest}
            own["beginning_hash"] = beginning_hash(
                config, identity.data_sha256, identity.start_sha256
            )
            own["trunk_steps"] = config.trunk_steps(int(manifest["max_steps"]))
            left = ("reused", "extended")
            kept = {key: value for key, value in record.manifest.items() if key not in left}
            new.write_json("manifest.json", resealed(kept, own))
            new.set_status(RunState.interrupted, reason)

    def _save(self, store: Store, config: Config, identity: Identity) -> None:
        """Write the checkpoints that the run goes on from, as its own; raises GptexpError."""
        theirs = Store(self.record.directory.checkpoints)
        own = {"config": to_dict(config), "config_hash": identity.hash}
        state = {**self.newest.state, **self.changes, **own}
        averages = {kind: part["best_step"] for kind, part in state.get("averages", {}).items()}
        last = replace(self.newest.entry, best_step=state["best_step"], averages=averages)
        kept = self.record.entries.values() if config.trainer.keep is Keep.all else ()
        entries = {entry.step: entry for entry in kept if entry.step < last.step}
        for step in last.bests:
            best = theirs.best_of(replace(last, best_step=step))
            if best is not None and best.step != last.step:
                entries[best.step] = best
        for step in sorted(entries):
            earlier = checkpoint.read(theirs.folder / entries[step].file)
            store.save({**earlier, **own}, step, earlier["best_step"])
        store.save(state, last.step, last.best_step)


def _written(lines: list[Line]) -> str:
    """Lines of a journal as their writer wrote them."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
