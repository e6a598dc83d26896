"""Several processes that train one model, joined by rendezvous.py: what they share and agree on.

Each is a rank. Rank 0 decides, writes and speaks; the others are told. What keeps a rank from going
on, it leaves in the store that all of them reach, so that rank 0 can say what became of it. A
process alone imports nothing of torch.distributed here.
"""

import json
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from gptexp import console
from gptexp.config import Parallel
from gptexp.errors import GptexpError, Problem, RankError, ToldError
from gptexp.runtime.interrupt import endings

if TYPE_CHECKING:
    from torch import Tensor
    from torch._C._distributed_c10d import Store

T = TypeVar("T")

GRACE = 3.0  # seconds in which ranks that still live notice that one does not
AGAIN = "the same command goes on from the last save"


@dataclass(frozen=True)
class Ranks:
    """The processes of one training, as one of them sees them; alone, as nearly all runs are."""

    rank: int = 0
    size: int = 1
    local: int = 0  # the rank among those on this machine
    timeout: int = field(default=0, compare=False)  # seconds that one waits for the others
    parallel: Parallel = Parallel.ddp
    store: "Store | None" = field(default=None, compare=False)
    run: int = 0  # how many runs these processes have begun

    @property
    def is_main(self) -> bool:
        """Whether this one decides, writes and speaks."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    @property
    def shards(self) -> bool:
        """Whether each holds a part of the weights alone."""
        return self.several and self.parallel is Parallel.fsdp

    def to_dict(self) -> dict[str, int | str]:
        """How many there are and how they share, for the manifest; nothing of one alone."""
        return {"ranks": self.size, "parallel": self.parallel.value} if self.several else {}

    def told(self, value: T) -> T:
        """What rank 0 gave here, on each rank; must be something that pickle takes."""
        if not self.several:
            return value
        import torch
        import torch.distributed as dist

        values = [value if self.is_main else None]
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]  # type: ignore[return-value]

    def gather(self, value: T) -> list[T]:
        """What each rank gave, in their order, on each rank."""
        if not self.several:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def most(self, *numbers: int) -> list[int]:
        """The largest of each of these numbers over the ranks."""
        if not self.several:
            return list(numbers)
        import torch
        import torch.distributed as dist

        largest = torch.tensor(numbers)  # on the CPU: the device need not be waited for
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return [int(number) for number in largest]

    def sum(self, tensor: "Tensor") -> "Tensor":
        """Make the tensor its sum over the ranks, in place."""
        if self.several:
            import torch.distributed as dist

            dist.all_reduce(tensor)
        return tensor

    def of_main(self, work: Callable[[], T]) -> T:
        """What `work` returns on rank 0, the only one that does it; each raises what it raises."""
        if not self.several:
            return work()
        value, error = _tried(work) if self.is_main else (None, None)
        value, words = self.told((value, _words(error)))
        if words is None:
            return value  # type: ignore[return-value]
        raise error or _told_by(0, words)

    def together(self, work: Callable[[], T]) -> T:
        """What `work` returns here, once all have done it; each raises where one of them could not.

        That is the error of the lowest such rank, with its name on the others.
        """
        if not self.several:
            return work()
        value, error = _tried(work)
        for rank, words in enumerate(self.gather(_words(error))):
            if words is not None:
                raise error if error and rank == self.rank else _told_by(rank, words)
        return value  # type: ignore[return-value]

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Have the other ranks learn what ends this one inside; raises RankError for a lost one."""
        if not self.several:
            yield
            return
        try:
            yield
        except GptexpError as error:
            self._leave(_words(error))
            raise
        except Exception as error:
            if not _of_connection(error):
                what = f"a bug in gptexp, {type(error).__name__}: {error}".partition("\n")[0]
                problem = Problem("run", what, f"look at the lines of rank {self.rank}")
                self._leave(_words(GptexpError(problem)))
                if not self.is_main:
                    console.fatal("%s", traceback.format_exc().rstrip())
                raise
            with _deaf():
                lost = self._lost(error)
                self._leave(_words(lost))
            raise lost from error

    @contextmanager
    def parting(self) -> Iterator[None]:
        """Have rank 0 end first what ends by an error inside, for it has that to write down.

        torchrun ends all ranks as soon as one has failed.
        """
        try:
            yield
        except RankError:
            raise
        except GptexpError:
            if not self.is_main:
                with suppress(Exception):
                    self._of_store.wait([self._key("over")], timedelta(seconds=self.timeout))
            raise
        finally:
            if self.several and self.is_main:
                with suppress(Exception):
                    self._of_store.set(self._key("over"), "")

    @property
    def _of_store(self) -> "Store":
        assert self.store is not None, "of a process alone"
        return self.store

    def _key(self, name: str) -> str:
        """The name of what the store holds of this run."""
        return f"{self.run}/{name}"

    def _leave(self, words: dict[str, Any] | None) -> None:
        """Put the last words of this rank where the others find them."""
        with suppress(Exception):  # the store may be gone with whoever held it
            self._of_store.set(self._key(f"words/{self.rank}"), json.dumps(words))

    def _lost(self, error: Exception) -> GptexpError:
        """What became of the rank that this one has waited for in vain."""
        missing, last_words = self._silent()
        if last_words is not None:
            return _told_by(*last_words)
        hangs = "timed out" in str(error).lower()
        names = ", ".join(map(str, missing)) or "another"
        subject = f"rank {names}"
        if hangs:
            what = f"not there after {self.timeout} seconds, in which the others waited for it"
            fix = f"{AGAIN}; a longer trainer.rank_timeout, if it was only slow"
        else:
            what, fix = "its process has ended and left no word", AGAIN
        lost = RankError(Problem(subject, what, fix))
        if not self.is_main and 0 in missing:
            console.fatal("%s", lost)
        return lost

    def _silent(self) -> tuple[list[int], tuple[int, dict[str, Any]] | None]:
        """The ranks that give no sign, or the last words of the first that left some."""
        store = self._of_store
        words, noticed = self._key("words"), self._key("noticed")
        others = [rank for rank in range(self.size) if rank != self.rank]
        ends = time.monotonic() + GRACE
        try:
            store.set(f"{noticed}/{self.rank}", "")
            while True:
                for rank in others:
                    if store.check([f"{words}/{rank}"]):
                        return [], (rank, json.loads(store.get(f"{words}/{rank}")))
                silent = [r for r in others if not store.check([f"{noticed}/{r}"])]
                if not silent or time.monotonic() > ends:
                    return silent, None
                time.sleep(0.05)
        except Exception:  # the store was held by rank 0, unless torchrun holds it
            return [0], None


ALONE = Ranks()


@contextmanager
def _deaf() -> Iterator[None]:
    """Go on when torchrun ends all ranks for one that is lost: what became of it is written."""
    with suppress(ValueError):  # not the main thread
        for number in endings():
            signal.signal(number, signal.SIG_IGN)
    yield


def _of_connection(error: Exception) -> bool:
    """Whether it is of the connection between ranks; gloo has no type for its errors."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "/gloo/" in str(error)
    )


def _tried(work: Callable[[], T]) -> tuple[T | None, GptexpError | None]:
    """What `work` returns, or what it raises."""
    try:
        return work(), None
    except GptexpError as error:
        return None, error


def _words(error: GptexpError | None) -> dict[str, Any] | None:
    """An error as the other ranks are told of it."""
    if error is None:
        return None
    first = error.problems[0]
    return {
        "lines": [[str(p.subject), p.what, p.fix] for p in error.problems],
        "code": error.exit_code,
        "named": isinstance(error, RankError | ToldError) or str(first.subject).startswith("rank "),
    }


def _told_by(rank: int, words: dict[str, Any]) -> GptexpError:
    """The error that another rank told of, with its name."""
    lead = "" if words["named"] else f"rank {rank}: "
    problems = [Problem(f"{lead}{subject}", what, fix) for subject, what, fix in words["lines"]]
    return ToldError(words["code"], *problems)
