"""A run that goes on from another one's checkpoint in another way, as a run of its own.

Optimizer, streams and curve go on. The learning rate of each step is that of the branch's own
schedule, as if all of its steps had been made under it; patience is counted anew.
"""

from typing import Any

from gptexp.config import AVERAGES, Config, differences
from gptexp.errors import CheckpointError, ConfigError, Problem, one_line
from gptexp.experiment.beginning import Beginning
from gptexp.experiment.extend import sampled
from gptexp.experiment.identity import Identity
from gptexp.experiment.integrity import read_whole
from gptexp.experiment.prepare import Inputs
from gptexp.experiment.record import Record
from gptexp.experiment.start import Base
from gptexp.models.build import construct
from gptexp.optim.build import build_optimizer
from gptexp.optim.decay import decayed
from gptexp.optim.groups import OWN
from gptexp.optim.schedule import build_schedule
from gptexp.runs.checkpoint import Resumable, State
from gptexp.runs.state import RunState
from gptexp.text import listed
from gptexp.tokenizers.build import tokenizer_from_dict
from gptexp.training.early_stopping import EarlyStopping

# Say nothing of what is other
UNTOLD = ("init_from", "branch_from", "tokenizer.extend", "data.path")


def branch(config: Config, identity: Identity, inputs: Inputs) -> None:
    """Make the run's directory of its base, unless it stands, so that it is taken up there.

    It appears under its name whole or not at all. Raises GptexpError and OSError.
    """
    base, directory = identity.base, identity.directory
    assert base is not None, "branch_from names it"
    if directory.path.exists():
        return
    steps, step = inputs.trainer.max_steps, base.entry.step
    if steps <= step:
        what = f"{steps:,}, and {config.branch_from} is at step {step:,}"
        raise ConfigError(Problem("trainer.max_steps", what, f"trainer.max_steps={2 * step}"))
    record = read_whole(base.directory.path)
    with base.directory.locked():
        beginning = _beginning(config, base, record, inputs)
        words = differs(config, base, record, steps)
        origin = {"run": str(record.path), "step": step, "differs": words}
        data = {**record.manifest["data"], "name": config.data.name, "path": config.data.path}
        own = {"max_steps": steps, "data": data, "branched": origin}
        reason = f"branches from {record.path} at step {step:,}; the same command goes on"
        beginning.make(config, identity, own, reason)


def _beginning(config: Config, base: Base, record: Record, inputs: Inputs) -> Beginning:
    """The base up to its checkpoint, of which a line that only its end called for is left out.

    That is the mean training loss of half an interval: the next line has all of it.
    """
    step, state, stored = base.entry.step, inputs.init, record.config()
    assert state is not None, "of branch_from"
    if state["config_hash"] != base.manifest["config_hash"] or "optimizer" not in state:
        what = f"{base.file} has no state of an optimizer to go on with"
        fix = f"init_from={config.branch_from} for the weights alone"
        raise CheckpointError(Problem("branch_from", what, fix))
    every = stored.trainer.log_interval
    metrics = [
        line
        for line in record.metrics
        if line["step"] < step
        or (line["step"] == step and ("train/loss" not in line or step % every == 0))
    ]
    samples = [line for line in record.samples if sampled(line, step, stored.trainer)]
    kept = {"ema"} & config.optim.averages.keys()  # an even one is of the branch's own end
    gone = {f"val/{kind}_loss" for kind in AVERAGES if kind not in kept}
    metrics = [{k: v for k, v in line.items() if k not in gone} for line in metrics]
    averages = {k: v for k, v in state.get("averages", {}).items() if k in kept}
    try:
        changes = {"stop": _patience(config, state), "optimizer": _optimizer(config, inputs, state)}
        changes |= {"averages": averages}
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        what = f"the parts of {base.file} do not fit together: {type(error).__name__}: {error}"
        problem = Problem("branch_from", one_line(what), "branch from another checkpoint")
        raise CheckpointError(problem) from error
    return Beginning(record, Resumable(base.entry, state), changes, metrics, samples)


def _patience(config: Config, state: State) -> dict[str, float | int]:
    """The best loss so far, with patience counted anew."""
    stop = EarlyStopping(config.trainer.patience, config.trainer.min_delta)
    stop.load_state_dict(state["stop"])
    stop.renew()
    return stop.state_dict()


def _optimizer(config: Config, inputs: Inputs, state: State) -> dict[str, Any]:
    """The optimizer's moments, under the settings of the config, as its weight decay.

    Raises CheckpointError for moments that are not this optimizer's.
    """
    vocab_size = tokenizer_from_dict(state["tokenizer"]).vocab_size
    cfg = decayed(config.optim, inputs.steps_per_epoch)
    groups = build_optimizer(cfg, construct(config.model, vocab_size)).state_dict()["param_groups"]
    stored = [
        {key: value for key, value in group.items() if key not in OWN}
        for group in state["optimizer"]["param_groups"]
    ]
    kept = [{**theirs, **ours} for theirs, ours in zip(stored, groups, strict=True)]
    return {**state["optimizer"], "param_groups": kept}


def differs(config: Config, base: Base, record: Record, steps: int) -> str:
    """What is other from the branch's first step on, in a line; `steps` is its whole length."""
    stored, step = record.config(), base.entry.step
    told = record.manifest.get("max_steps", stored.trainer.max_steps)
    words = [
        f"{key}={ours} (before {theirs})"
        for key, theirs, ours in differences(stored, config)
        if key not in UNTOLD
    ]
    if code := record.changed_own_code():
        words.append(f"other code in {listed(code)}")
    before = stored.optim.lr * build_schedule(stored.schedule, told)(step - 1)
    after = config.optim.lr * build_schedule(config.schedule, steps)(step)
    rates = f"learning rate {before:.1e} before, {after:.1e} from there"
    return "; ".join([", ".join(words) or "no other settings", rates, *_end(record, step, told)])


def _end(record: Record, step: int, steps: int) -> list[str]:
    """How the base had ended at that step, where it was before its end."""
    if record.state is RunState.diverged and step == max(record.entries):
        return [f"it had diverged: {record.status['what']}"]
    if record.summary is not None and step == record.summary["final"]["step"] < steps:
        return [f"it had stopped: {record.summary['stop_reason']}"]
    return []
