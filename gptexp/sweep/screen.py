"""What a sweep says before its first job and after its last. Torch-free."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gptexp.config import Config, to_dict
from gptexp.config.identity import flat, judged_by
from gptexp.console import NOTE
from gptexp.experiment.screen import export_line, without_dashboards
from gptexp.runs.directory import OUTPUTS
from gptexp.runs.state import Outcome, RunState
from gptexp.sweep.points import SweepPoint
from gptexp.text import aligned, in_shell, listed

log = logging.getLogger(__name__)


def show_over(points: Sequence[SweepPoint]) -> None:
    """One line for the points that were done before, and one for those of another folder."""
    done = [p.outcome for p in points if p.outcome.state is RunState.already_done]
    other = sum(outcome.note.startswith("by other code") for outcome in done)
    if done:
        by = f", {other} by other code" if other else ""
        log.info("already done  %d of %d points%s", len(done), len(points), by)
        show_untold(points)
    reused = [p.outcome for p in points if p.outcome.state is RunState.done]
    if reused:
        notes = listed(sorted({outcome.note for outcome in reused}))
        log.info("done          %d of %d points, %s", len(reused), len(points), notes)


def show_untold(points: Sequence[SweepPoint]) -> None:
    """One line for each dashboard that is asked for now and has none of points that were done."""
    untold: dict[str, list[Path]] = {}
    for point in points:
        path, config = point.outcome.path, point.config
        if point.outcome.state is RunState.already_done and path and isinstance(config, Config):
            for name in without_dashboards(path, config.logger):
                untold.setdefault(name, []).append(path)
    for name, paths in untold.items():
        counted = f", {len(paths)} such points" if len(paths) > 1 else ""
        log.info("              %s%s", export_line(name, paths[0]), counted)


def table(points: Sequence[SweepPoint]) -> str:
    """What became of each point, the best first, and those without a result last.

    Where their losses do not compare, none is the best.
    """
    counts = Counter(point.outcome.state for point in points)
    summed = ", ".join(f"{count} {state}" for state, count in counts.items())
    title = f"{len(points)} point{'s' if len(points) != 1 else ''}: {summed}"
    rows = [("state", "best val", "#", "point", "run")]
    by_loss = not _incomparable(points)
    ranks = {id(point): _rank(point) if by_loss else _rank(point)[:1] for point in points}
    for number, point in sorted(enumerate(points, start=1), key=lambda both: ranks[id(both[1])]):
        outcome = point.outcome
        name = outcome.path.name if outcome.path else ""
        words = outcome.error.removeprefix(f"{outcome.state}: ")
        words = words or ", ".join(filter(None, [name, outcome.note]))
        rows.append((outcome.state, _best(outcome), str(number), point.label, words))
    return "\n".join([title, *aligned(rows, [False, True, True, False, False])])


def show_end(points: Sequence[SweepPoint]) -> None:
    """The table; of several points the best one too, and what to type next."""
    log.info("\n%s", table(points))
    finished = [point for point in points if point.outcome.best_val_loss is not None]
    if len(points) == 1 or not finished:
        return
    if why := _incomparable(finished):
        run = None
        log.info("\nbest    %s", why)
    else:
        best = min(finished, key=_rank)
        run = best.outcome.path
        log.info("\nbest    %s at %s: %s", _best(best.outcome), best.label, run)
    for place, line in enumerate(_next(finished, run)):
        log.info("%-7s %s", "" if place else "next", line)


def show_pause(points: Sequence[SweepPoint], count: int) -> None:
    """How to go on after an interruption, which is no error; `count` points there are to be."""
    over = sum(point.outcome.state in (RunState.done, RunState.already_done) for point in points)
    log.log(NOTE, "interrupted: %d of %d points done; the same command goes on", over, count)


def _next(points: Sequence[SweepPoint], best: Path | None) -> list[str]:
    """What to type to look at the runs of these points."""
    configs = [point.config for point in points if isinstance(point.config, Config)]
    names = {config.name for config in configs}
    folder = OUTPUTS / names.pop() if len(names) == 1 else OUTPUTS
    typed, sampled = in_shell(folder), in_shell(best or f"best:{folder}")
    verb = "chat" if configs and all(config.data.chat for config in configs) else "sample"
    lines = [f"gptexp table {typed}", f"gptexp report {typed}", f"gptexp {verb} {sampled}"]
    if any(config.logger.tensorboard for config in configs):
        lines.append(f"gptexp tensorboard {typed}")
    if any(_to_sync(point) for point in points):
        runs = folder / "*" if folder != OUTPUTS else folder / "*" / "*"
        lines.append(f"wandb sync {runs}/wandb/offline-run-*")
    else:
        lines += sorted({f"W&B project {c.logger.project}" for c in configs if c.logger.wandb})
    return lines


def _to_sync(point: SweepPoint) -> bool:
    """Whether the run has offline folders of W&B's that are not sent yet."""
    config, path = point.config, point.outcome.path
    if not isinstance(config, Config) or not config.logger.wandb or path is None:
        return False
    offline = path.glob("wandb/offline-run-*")
    return any(not any(folder.glob("*.synced")) for folder in offline)


def _incomparable(points: Sequence[SweepPoint]) -> str:
    """Why the losses of the points do not tell the best of them; empty where they do."""
    configs = [point.config for point in points if isinstance(point.config, Config)]
    if len({repr(config.tokenizer) for config in configs}) > 1:
        return "by bits per byte, which gptexp table has: these are of several tokenizers"
    judged = [(c.data.path, c.data.asset, judged_by(flat(to_dict(c)))) for c in configs]
    if any(one != judged[0] for one in judged):
        return "none: these are judged on several texts, or otherwise than each other"
    return ""


def _rank(point: SweepPoint) -> tuple[bool, float]:
    best = point.outcome.best_val_loss
    return best is None, best or 0.0


def _best(outcome: Outcome) -> str:
    return "" if outcome.best_val_loss is None else f"{outcome.best_val_loss:.4f}"
