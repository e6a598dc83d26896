"""What the benchmarks do in fresh processes; most print one line of JSON last.

child.py first-step STARTED ARGUMENTS...   python run.py ARGUMENTS..., to its first step
child.py optimizer STARTED DEVICE          `import torch`, and an optimizer built
child.py whole ARGUMENTS...                python run.py ARGUMENTS..., to its end
child.py nanogpt CHECKOUT FOLDER FLAGS     a step of nanoGPT, over the tokens in FOLDER
child.py nanogpt-turns CHECKOUT FOLDER FLAGS THREADS   what standard input tells nanoGPT to do
child.py memory SIDE STEPS OVERRIDES...    a few steps of trainer or textbook
"""

import json
import os
import resource
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, whatever is installed


def first_step(started: float, arguments: list[str]) -> NoReturn:
    """Run run.py as it is until it is about to train, and say what took how long."""
    from gptexp.training import throughput
    from gptexp.training.trainer import Trainer

    seconds: dict[str, float] = {}

    def report(trainer: Trainer) -> NoReturn:
        trainer.parts.runtime.synchronize()
        finish({"total": time.time() - started, **seconds})

    time_calls(seconds, throughput, "measure", "forecast")
    time_calls(seconds, Trainer, "evaluate_if_due", "evaluation")
    time_calls(seconds, Trainer, "save", "save")
    Trainer.train_step = report  # type: ignore[method-assign,assignment]
    sys.argv = [str(ROOT / "run.py"), *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")
    raise SystemExit("run.py ended before its first step")


def time_calls(seconds: dict[str, float], owner: Any, name: str, label: str) -> None:
    """Add the time that each call of owner.name takes from now on to seconds[label]."""
    original: Callable[..., Any] = getattr(owner, name)

    def timed(*positional: Any, **named: Any) -> Any:
        began = time.perf_counter()
        result = original(*positional, **named)
        seconds[label] = seconds.get(label, 0.0) + time.perf_counter() - began
        return result

    setattr(owner, name, timed)


def whole(arguments: list[str]) -> None:
    """Run run.py as it is, and say how long its steps, evaluations and saves took together."""
    from gptexp.training.trainer import Trainer

    seconds: dict[str, float] = {}
    for name in ("train_step", "evaluate_if_due", "save"):
        time_calls(seconds, Trainer, name, name)
    sys.argv = [str(ROOT / "run.py"), *arguments]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        print(json.dumps({"pieces": sum(seconds.values())}), flush=True)


def nanogpt(checkout: Path, folder: Path, flags: dict[str, Any]) -> None:
    """All that comes before a step of nanoGPT, a step, and the end of the process."""
    from benchmarks.nanogpt import Flags, NanoGPT

    side = NanoGPT(checkout, Flags(**flags), folder)
    began = time.perf_counter()
    side.run(1)
    print(json.dumps({"pieces": time.perf_counter() - began}), flush=True)


def nanogpt_turns(checkout: Path, folder: Path, flags: dict[str, Any], threads: int) -> None:
    """Steps, evaluations and saves of nanoGPT, as they are asked for."""
    import torch

    from benchmarks.nanogpt import Flags, work_in_turns

    torch.set_num_threads(threads)
    work_in_turns(checkout, Flags(**flags), folder)


def optimizer(started: float, device: str) -> NoReturn:
    """What every program pays that trains with torch; the first optimizer imports much more."""
    import torch

    if device == "auto":
        device = str(torch.accelerator.current_accelerator(check_available=True) or "cpu")
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1, device=device))], fused=True)
    finish({"total": time.time() - started})


def memory_of_trainer(steps: int, overrides: list[str]) -> NoReturn:
    """Of the process, and of the training alone: beside one of the same that had but 8 channels."""
    import torch

    from benchmarks import sides
    from gptexp.models.build import build_model
    from gptexp.models.counts import training_memory

    def train(config: Any) -> Any:
        inputs = sides.read(config)
        network = build_model(config.model, inputs.tokenizer.vocab_size, 0)
        folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
        with sides.trainer_side(config, network, inputs, folder) as trainer:
            trainer.run(steps)
        return inputs

    config = sides.settings(overrides)
    torch.set_num_threads(config.trainer.threads or torch.get_num_threads())
    little = ["model.n_layer=1", "model.n_head=1", "model.n_embd=8", "trainer.batch_size=1"]
    train(sides.settings([*overrides, *little]))  # what is imported and kept by then is no training
    before = peak()
    inputs = train(config)
    found = peak()
    kind = "gpu" if "gpu" in found else "process"
    sizes = inputs.tokenizer.vocab_size, config.trainer.batch_size
    recomputes = config.trainer.activation_checkpointing
    estimate = training_memory(config.model, *sizes, inputs.runtime, recomputes)
    found["training"] = found[kind] - before[kind]
    found["estimate"] = estimate / 1e6
    finish(found)


def memory_of_textbook(steps: int, overrides: list[str]) -> NoReturn:
    """Imports no more of gptexp than the model, its config and the reading of the text."""
    import torch

    from benchmarks.textbook import Textbook
    from gptexp.config import from_overrides
    from gptexp.data.load import load_corpus
    from gptexp.models.build import build_model
    from gptexp.runtime.device import probe_hardware, resolve_runtime

    config = from_overrides(overrides)
    where = resolve_runtime(config.trainer, probe_hardware())
    torch.use_deterministic_algorithms(False)
    loaded = load_corpus(config.data, config.tokenizer, config.model.block_size)
    network = build_model(config.model, loaded.tokenizer.vocab_size, 0).to(where.device)
    tokens = torch.from_numpy(loaded.splits.train).long().to(where.device)
    block_size = config.model.block_size
    Textbook(network, tokens, config.trainer.rows, block_size, where.dtype).run(steps)
    finish(peak())


def peak() -> dict[str, float]:
    """Megabytes, of the process and, where there is one, of the GPU."""
    import torch

    unit = 1e6 if sys.platform == "darwin" else 1e6 / 1024  # ru_maxrss is bytes there, else KiB
    found = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        found["gpu"] = torch.cuda.max_memory_allocated() / 1e6
    return found


def finish(result: dict[str, float]) -> NoReturn:
    """Print and leave at once: what comes after is not measured."""
    sys.stdout.flush()
    print(json.dumps(result), flush=True)
    os._exit(0)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["first-step", started, *arguments]:
            first_step(float(started), arguments)
        case ["optimizer", started, device]:
            optimizer(float(started), device)
        case ["whole", *arguments]:
            whole(arguments)
        case ["nanogpt", checkout, folder, flags]:
            nanogpt(Path(checkout), Path(folder), json.loads(flags))
        case ["nanogpt-turns", checkout, folder, flags, threads]:
            nanogpt_turns(Path(checkout), Path(folder), json.loads(flags), int(threads))
        case ["memory", "trainer", steps, *overrides]:
            memory_of_trainer(int(steps), overrides)
        case ["memory", "textbook", steps, *overrides]:
            memory_of_textbook(int(steps), overrides)
        case _:
            raise SystemExit(__doc__)
