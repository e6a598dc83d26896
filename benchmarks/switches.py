"""What each switch of the GPT costs: a training step with it, over one without, in turns.

python -m benchmarks.switches                                   # laptop and tiny, one thread
python -m benchmarks.switches --settings tiny model.block_size=1024 trainer.batch_size=2
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import sides
from benchmarks.table import HEADER, Row, machine, over
from gptexp.errors import GptexpError
from gptexp.models.build import build_model
from gptexp.runtime.device import cpu_threads

PLAIN = "as it is"
SWITCHES = {  # each beside what is plain; a window is an eighth of the context
    PLAIN: (),
    "position=none": ("model.position=none",),
    "position=rope": ("model.position=rope",),
    "norm=rmsnorm": ("model.norm=rmsnorm",),
    "norm=rmsnorm, no gain": ("model.norm=rmsnorm", "model.norm_gain=false"),
    "bias=false": ("model.bias=false",),
    "activation=gelu_tanh": ("model.activation=gelu_tanh",),
    "activation=relu": ("model.activation=relu",),
    "activation=relu2": ("model.activation=relu2",),
    "activation=silu": ("model.activation=silu",),
    "activation=swiglu": ("model.activation=swiglu",),
    "activation=geglu": ("model.activation=geglu",),
    "n_kv_head=1": ("model.n_kv_head=1",),
    "window=an eighth": ("window",),
    "qk_norm": ("model.qk_norm=true",),
}
SETTINGS = {
    "laptop": ("experiment=nanogpt_laptop",),
    "tiny": ("model=tiny", "trainer.batch_size=8"),
}
SHARE = 8  # of the context, a window


def ratios(setting: str, extra: list[str], rounds: int, seconds: float) -> Iterator[Row]:
    """The ratios of a step with each switch to the plain one, in CPU seconds of one thread."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as place, cpu_threads(1):
        fixed = ["logger=none", "trainer.device=cpu", "trainer.threads=1"]
        plain = sides.settings([*SETTINGS[setting], *extra, *fixed])
        inputs = sides.read(plain)
        trainers = {}
        for index, (name, words) in enumerate(SWITCHES.items()):
            window = f"model.window=[{plain.model.block_size // SHARE}]"
            words = tuple(window if word == "window" else word for word in words)
            config = sides.settings([*SETTINGS[setting], *extra, *words, *fixed])
            folder = Path(place) / str(index)
            folder.mkdir()
            network = build_model(config.model, inputs.tokenizer.vocab_size, 0)
            side = sides.trainer_side(config, network, inputs, folder)
            trainers[name] = stack.enter_context(side)
        steps = sides.steps_in(seconds, trainers[PLAIN], inputs.runtime)
        for trainer in trainers.values():
            trainer.run(1)
        work = {name: partial(trainer.run, steps) for name, trainer in trainers.items()}
        took = sides.turns(work, rounds, inputs.runtime, time.process_time)
    yield Row(f"{setting}: a step, {PLAIN}", [1e3 * each / steps for each in took[PLAIN]], "ms")
    for name in list(SWITCHES)[1:]:
        yield Row(f"{setting}: {name}", over(took[name], took[PLAIN]))


def main(words: list[str] | None = None) -> None:
    """Print the ratios as they are measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="behind each setting's own")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    args = parser.parse_intermixed_args(words)
    try:
        config = sides.settings(["trainer.device=cpu", "trainer.threads=1", "logger=none"])
        where = sides.read(config).runtime
        print(HEADER)
        for setting in args.settings:
            for row in ratios(setting, args.overrides, args.rounds, args.seconds):
                print(row, flush=True)
        print(machine(where))
    except GptexpError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
