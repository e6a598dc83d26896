"""What a run says on the screen: its first lines and its last. Torch-free."""

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gptexp.config import AVERAGES, UNITS, Config, LoggerConfig
from gptexp.console import brief
from gptexp.runs.directory import RunDirectory
from gptexp.runs.lines import Lines
from gptexp.runs.schema import Averaged, Branch, Fall, Part, Summary
from gptexp.runs.state import Outcome, RunState
from gptexp.runs.summary import is_chat, is_judged
from gptexp.text import duration, in_shell

if TYPE_CHECKING:
    from gptexp.data.corpus import Corpus
    from gptexp.experiment.prepare import Inputs

log = logging.getLogger(__name__)

EVENTS = "events.out.tfevents.*"  # of TensorBoard, in a run directory


def show_summary(summary: Summary, folder: Path) -> None:
    """Show what came out of a run, where it is, and what to type next."""
    log.info("")
    log.info("done at step %s: %s", f"{summary['final']['step']:,}", summary["stop_reason"])
    for name, words in describe_results(summary, folder):
        log.info("%-7s %s", name, words)
    log.info("sample  from the best weights")
    for line in summary["sample"].strip("\n").split("\n"):
        log.info("    %s", line)
    log.info("run     %s", folder)
    use = "chat %s" if is_chat(summary) else "sample %s --num 3 --temperature 0.8"
    log.info(f"next    gptexp {use}", in_shell(folder))
    if any(folder.glob(EVENTS)):
        log.info(
            "        gptexp tensorboard %s    (smoothing above 0 hides cliffs)",
            in_shell(folder.parent),
        )


def describe_results(summary: Summary, folder: Path) -> Iterator[tuple[str, str]]:
    """What a run came to: the word that each line begins with, and what follows it."""
    best, final = summary["best"], summary["final"]
    if best is not None:
        at = f"at step {best['step']:,}, after {best['epochs']:.2f} epochs"
        loss = _number(best["val_loss"])
        yield "best", f"{loss:.4f} nats per token{_bits(best['val_bpb'])} {at}"
        if (capped := best.get("capped")) is not None:
            chosen = f"{capped['targets']:,} targets, at {_number(capped['val_loss']):.4f}"
            yield "capped", f"chosen by evaluations of {chosen}; best and final judge all"
    if (accuracy := (best or final).get("val_accuracy")) is not None:
        right = f"{100 * accuracy:.1f}% of validation right to the letter"
        yield "answers", f"{right}, by greedy decoding"
    if parts := final.get("parts") or {}:
        yield "parts", describe_parts((best or final).get("parts", parts))
    yield from describe_averages(summary)
    if is_judged(summary):
        loss, train = _number(final["val_loss"]), _number(final["train_loss"])
        took = f"{duration(summary['seconds'])} in all"
        yield "final", f"{loss:.4f} at step {final['step']:,}; training text {train:.4f}; {took}"
    else:
        yield "judged", f"on no text: gptexp evaluate {in_shell(folder)} data=text data.path=FILE"
    if ngrams := summary.get("ngrams"):  # a run of an earlier gptexp has none
        words = describe_ngrams(ngrams, summary.get("config", {}))
        if (of := summary.get("ngrams_of")) is not None:
            words += f", the first {of:,} of training and of validation at most"
        yield "n-grams", words
    if summary["cliff"] is not None:
        yield "cliff", describe_cliff(summary["cliff"])
    if (test := summary["test"]) is not None:
        share = test.get("accuracy")
        answers = "" if share is None else f", {100 * share:.1f}% of the answers right"
        yield "test", f"{_number(test['loss']):.4f}{_bits(test['bpb'])}{answers}"
    if "branched" in summary:
        yield "branch", describe_branch(summary["branched"])


def describe_parts(parts: Mapping[str, Part]) -> str:
    """The loss of each part of a mix, and how often it was repeated, in a line."""
    return "; ".join(
        f"{name} {_number(part['loss']):.4f} after {part['epochs']:.2f} epochs"
        if part["epochs"]
        else f"{name} {_number(part['loss']):.4f}, not trained on"
        for name, part in parts.items()
    )


def describe_averages(summary: Summary) -> Iterator[tuple[str, str]]:
    """Each average of the weights that a run kept, with its lowest loss, beside the best one."""
    averages, best = summary.get("averages"), summary["best"]
    if averages is None:
        return
    for kind in AVERAGES:
        if (own := cast(Averaged | None, averages.get(kind))) is None:
            continue
        words = f"{own['val_loss']:.4f} at step {own['step']:,}, of averaged weights"
        if best is not None:
            raw = best.get("capped", best)["val_loss"]
            gain = math.nan if raw is None else raw - own["val_loss"]
            side = "below" if gain >= 0 else "above"
            words += f": {abs(gain):.4f} {side} the best"
        use = f"; gptexp sample RUN --weights {kind}" if averages["better"] == kind else ""
        yield kind, words + use


def describe_cliff(fall: Fall) -> str:
    """The cliff of a summary in one line."""
    side = "above" if fall["gap"] >= 0 else "below"
    gap = f"validation is {abs(fall['gap']):.4f} {side} training at the best"
    match fall:
        case {"verdict": "cliff", "onset": onset} if onset is not None:
            return (
                f"from step {onset['step']:,}, epoch {onset['epochs']:.2f}; "
                f"{fall['height']:.4f} higher at the end, {fall['slope']:+.4f} an epoch; {gap}"
            )
        case {"verdict": "none"}:
            return f"none; {gap}"
    return f"too early to tell; {gap}"


def describe_branch(origin: Branch) -> str:
    """Where a run was branched from another, and what is other from there, in a line."""
    return f"of {origin['run']} at step {origin['step']:,}: {origin['differs']}"


def describe_ngrams(losses: list[float], config: dict[str, object]) -> str:
    """The losses of n-grams in a line: `3.3473, 2.4857 by counting 1, 2 characters`."""
    orders = ", ".join(str(order) for order in range(1, len(losses) + 1))
    shown = ", ".join(f"{loss:.4f}" for loss in losses)
    unit = "tokens"
    match config:  # of a file
        case {"tokenizer": {"name": str(name)}}:
            unit = UNITS.get(name, unit)
    return f"{shown} by counting {orders} {unit}"


def _bits(bpb: float | None) -> str:
    """Bits per byte behind a loss; nothing of tokens of which no bytes are known."""
    return "" if bpb is None else f" ({bpb:.3f} bits per byte)"


def _number(value: float | None) -> float:
    """NaN, which JSON writes as null, back again."""
    return math.nan if value is None else value


def show_again(over: Outcome, directory: RunDirectory, config: Config) -> None:
    """Show the last lines of a run that was not trained by this command.

    What `config` asks for now it may lack: how a dashboard or a trace gets it is said too.
    """
    if over.state is RunState.already_done:
        code = f", {over.note}" if over.note else ""
        log.info("already done%s (rerun=true trains it anew)", code)
    summary = directory.summary()
    assert summary is not None, "it is over"
    show_summary(summary, directory.path)
    for name in without_dashboards(directory.path, config.logger):
        log.info("        %s", export_line(name, directory.path))
    looks = Lines(directory.path / "metrics.jsonl", having=b'"diag/')
    if config.trainer.diagnostics_interval and not looks.last():
        log.info("        nothing is trained, so nothing is looked at (rerun=true trains it anew)")
    if config.trainer.profile:
        log.info("        nothing is trained, so no step is traced (rerun=true trains it anew)")


def without_dashboards(run: Path, logger: LoggerConfig) -> list[str]:
    """The dashboards that `logger` asks for and that have nothing of the run."""
    told = {
        "tensorboard": not logger.tensorboard or any(run.glob(EVENTS)),
        "wandb": not logger.wandb or (run / "wandb-id").exists(),
    }
    return [name for name, is_told in told.items() if not is_told]


def export_line(dashboard: str, run: Path) -> str:
    """What to type for a dashboard to have a run that is done."""
    title = {"tensorboard": "TensorBoard", "wandb": "W&B"}[dashboard]
    return f"gptexp export {in_shell(run)} --to {dashboard}    ({title} has none of it)"


def describe_evaluations(corpus: "Corpus", cap: int | None) -> str | None:
    """What evaluations in training judge under trainer.eval_tokens; None where it is not given."""
    if cap is None:
        return None
    part, every = corpus.targets("val", cap=cap), corpus.targets("val")
    if part == every:
        return f"all {every:,} validation targets: trainer.eval_tokens={cap} is as many, or more"
    return (
        f"{part:,} of {every:,} validation targets (trainer.eval_tokens); at the end the best and "
        "the last weights judge all"
    )


def announce(model: str, parameters: int, inputs: "Inputs", path: Path, step: int | None) -> None:
    """The first lines: model, data, machine, directory; and the step of a run that goes on."""
    machine, text = inputs.runtime.describe(), inputs.text.describe()
    if inputs.trainer.compile is True:
        machine += ", compiled"
    if inputs.ranks.several:
        machine += f", by {inputs.ranks.size} ranks ({inputs.ranks.parallel.value})"
    log.info("model   %s: %s parameters, on %s", model, f"{parameters:,}", machine)
    log.info("data    %s", text)
    brief("on %s", machine, once=True)
    brief("%s", text, once=True)
    if (words := describe_evaluations(inputs.corpus, inputs.trainer.eval_tokens)) is not None:
        log.info("judged  %s", words)
        brief("evaluations judge %s", words, once=True)
    log.info("run     %s", path)
    if step is not None:
        log.info("resume  at step %s of %s", f"{step:,}", f"{inputs.trainer.max_steps:,}")
    if (origin := RunDirectory(path).manifest().get("branched")) is not None:
        log.info("branch  %s", describe_branch(origin))
        brief("branch of step %s: %s", f"{origin['step']:,}", origin["differs"])
