"""The study of a search, as Optuna keeps it: what was tried, what came of it, what to try next.

Optuna is known to this file alone. Whatever it raises of its storage leaves as one line.
"""

import contextlib
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from gptexp.config.identity import refilled
from gptexp.config.search import Choices, Dimension, SearchSettings, Space
from gptexp.errors import ConfigError, DamagedError, GptexpError, Problem
from gptexp.files import open_to_append, storage_errors
from gptexp.runs.journal import evaluations
from gptexp.runs.state import Outcome, RunState

JOURNAL = "optuna.journal"  # in the folder of the runs

OTHER = "another name=..., or hydra.sweeper.study_name=..."

LOCK_SECONDS = 60.0  # for another process to write a line


class Study:
    """Trials by their numbers, which Optuna counts from 0."""

    def __init__(self, settings: SearchSettings, folder: Path) -> None:
        """Open the study of the runs in `folder`, made where there is none; raises GptexpError."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.settings = settings
        self.folder = folder
        self.name = settings.study_name or folder.name
        self.place = settings.storage or folder / JOURNAL
        with self._readable():
            storage = settings.storage or _journal(folder / JOURNAL)
            self.study = optuna.create_study(
                study_name=self.name,
                storage=storage,
                pruner=settings.pruner,
                load_if_exists=True,
            )

    def count(self) -> int:
        """How many trials were begun."""
        return len(self._trials())

    def open_trials(self) -> list[int]:
        """The numbers of those that are not over: a process trains them, or was interrupted."""
        return [trial.number for trial in self._trials() if not trial.state.is_finished()]

    def over(self) -> dict[int, tuple[list[str], Outcome]]:
        """By their numbers, overrides beside the fixed ones and outcome of those that are over."""
        over = [trial for trial in self._trials() if trial.state.is_finished()]
        return {t.number: (words, _outcome(t, self.folder)) for t in over if (words := _words(t))}

    def agree(self, identity: dict[str, Any], space: Space) -> None:
        """Note what run the trials are variants of, as a flat identity; or compare with it.

        Raises ConfigError where it is another one, but for the keys that are searched over, or
        where these take values of another kind.
        """
        with self._readable():
            known: Any = self.study.user_attrs.get("identity")
            if known is None:
                self.study.set_user_attr("identity", identity)
        free = [dimension.key for dimension in space.dimensions]
        known = refilled(known) if isinstance(known, dict) else {}
        rows = [
            Problem(key, f"study {known.get(key)}, command {identity.get(key)}", OTHER)
            for key in ({**known, **identity} if known else {})
            if known.get(key) != identity.get(key)
            and not (key in free or key.partition(".")[0] in free)
        ]
        if rows:
            keys = ", ".join(str(row.subject) for row in rows)
            what = f"its study {self.name} is of another config: {keys}"
            raise ConfigError(Problem(self.place, what, OTHER), *rows)
        ConfigError.raise_for(self._other_choices(space))

    def _other_choices(self, space: Space) -> Iterator[Problem]:
        """The keys that Optuna can draw no more values of, with those that it has drawn."""
        spaces = [t.distributions for t in self._trials() if t.distributions]
        for dimension in space.dimensions:
            if any(dimension.key not in drawn for drawn in spaces):
                what = f"the study {self.name} does not search over it"
                yield Problem(dimension.key, what, OTHER)
                continue
            try:
                for before in (drawn[dimension.key] for drawn in spaces):
                    check_distribution_compatibility(before, _distribution(dimension))
            except ValueError:
                what = f"the study {self.name} has other choices, or another kind of interval"
                yield Problem(dimension.key, what, OTHER)

    def begin(self) -> int:
        """A new trial, whose values are not drawn yet; returns its number."""
        with self._readable():
            return self.study.ask().number

    def draw(self, number: int, space: Space) -> list[str]:
        """The overrides of a trial beside the fixed ones; what it has is not drawn again.

        They follow from the sampler's seed, the number and the trials before: a search that was
        interrupted draws what it would have drawn.
        """
        with self._readable():
            seed = self.settings.seed
            own = None if seed is None else zlib.crc32(f"{seed}/{number}".encode())
            self.study.sampler = self.settings.sampler(seed=own)
            trial = self._trial(number)
            if words := _words(trial):
                return words
            values = {d.key: trial._suggest(d.key, _distribution(d)) for d in space.dimensions}
            words = space.words(values)
            trial.set_user_attr("overrides", words)
            return words

    def should_prune(self, number: int) -> Callable[[int, float], bool]:
        """What a run is to ask at its evaluations."""
        with self._readable():
            trial = self._trial(number)

        def ask(step: int, val_loss: float) -> bool:
            with self._readable():
                self._report(trial, step, val_loss)
                return trial.should_prune()

        return ask

    def tell(self, number: int, outcome: Outcome) -> None:
        """Write down what came of a trial that is over."""
        value, state = outcome.best_val_loss, TrialState.COMPLETE
        if outcome.state is RunState.pruned:
            value, state = None, TrialState.PRUNED
        elif value is None:
            state = TrialState.FAIL
        with self._readable(), contextlib.suppress(RuntimeError):  # another process told it
            trial = self._trial(number)
            run, why = outcome.path.name if outcome.path else "", outcome.error or outcome.note
            told = {"run": run, "state": outcome.state.value, "why": why}
            trial.set_user_attr("outcome", told)
            if state is TrialState.COMPLETE and outcome.path is not None:
                for row in evaluations(outcome.path):  # of a run that another command trained, too
                    self._report(trial, row["step"], row["val/loss"])
            self.study.tell(trial, value, state)

    def _report(self, trial: Trial, step: int, val_loss: float) -> None:
        """Note a loss for the pruner, but for that before training; once, if a run went back."""
        known = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        if step > 0 and step not in known:
            trial.report(val_loss, step)

    def _trials(self) -> list[FrozenTrial]:
        """All that were begun, in the order of their numbers."""
        with self._readable():
            trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state is not TrialState.WAITING]

    def _trial(self, number: int) -> Trial:
        """A trial to draw for, report to and tell of."""
        return Trial(self.study, self.study.get_trials(deepcopy=False)[number]._trial_id)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Word what is wrong with the storage; raises DamagedError and StorageError."""
        path = self.place if isinstance(self.place, Path) else Path("hydra.sweeper.storage")
        try:
            with storage_errors(path):
                yield
        except GptexpError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            fix = "move it away: its runs stay, and a new study takes them as they are"
            if self.settings.storage is not None:
                fix = "one as sqlite:///study.db, or leave it out"
            what = f"cannot be read as a study of Optuna's: {reason}"
            raise DamagedError(Problem(path, what, fix)) from error


def _outcome(trial: FrozenTrial, folder: Path) -> Outcome:
    """What came of a trial in an earlier command, or by another process."""
    told = trial.user_attrs.get("outcome")
    run, state, why = "", "", ""
    match told:  # of a file
        case {"run": str(run), "state": str(state), "why": str(why)}:
            pass
    path = folder / Path(run).name if run else None
    if path is not None and not path.exists():
        why = "its run is gone"
    match trial.state:
        case TrialState.COMPLETE:
            return Outcome(RunState.already_done, path, trial.value, note=why)
        case TrialState.PRUNED:
            return Outcome(RunState.pruned, path, note=why)
    known = RunState(state) if state in {*RunState} else RunState.failed
    return Outcome(known, path, error=why)


def _words(trial: FrozenTrial | Trial) -> list[str]:
    """The overrides of a trial beside the fixed ones, as they were written down."""
    words = trial.user_attrs.get("overrides")
    return [str(word) for word in words] if isinstance(words, list) else []


def _journal(path: Path) -> BaseStorage:
    """Optuna's own file of lines, without the end of one that was cut short.

    Its lock is the system's, which a killed process does not hold. Raises OSError and ValueError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_SECONDS)
    with lock, open_to_append(path) as file:
        file.seek(0)
        *lines, torn = (text := file.read()).split(b"\n")
        if not all(isinstance(json.loads(line), dict) for line in lines) or torn[:1] not in b"{":
            raise ValueError("its lines are none of a study")
        file.truncate(len(text) - len(torn))
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def _distribution(dimension: Dimension) -> BaseDistribution:
    """What Optuna draws from."""
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    low, high, step = dimension.low, dimension.high, dimension.step
    if dimension.whole:
        return IntDistribution(int(low), int(high), log=dimension.log, step=int(step or 1))
    return FloatDistribution(low, high, log=dimension.log, step=step)
