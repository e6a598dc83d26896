"""The largest GPTs that train in so much memory, by estimate: none is trained.

python -m benchmarks.largest
python -m benchmarks.largest model.dropout=0.2 trainer.batch_size=1

Each has as many heads as layers, and 64 channels a head. A GPU is reckoned in float32 too.
"""

import argparse
from dataclasses import replace
from itertools import count, takewhile

import torch

from gptexp.config import GPTConfig, check, from_overrides
from gptexp.errors import ConfigError, GptexpError, Problem
from gptexp.models.counts import total_parameters, training_memory
from gptexp.runtime.device import Runtime

GIB = 1 << 30  # bytes
CHANNELS = 64  # of a head
VOCAB_SIZE = 65  # characters of Tiny Shakespeare

MACHINES = (("cpu", 24), ("cuda", 24), ("cuda", 40), ("cuda", 80))  # and their GiB
CONTEXTS = (256, 1024)


def largest(
    cfg: GPTConfig, rows: int, device: str, most: int, recomputes: bool = False
) -> GPTConfig | None:
    """The one that trains on batches of so many rows in `most` bytes; None where none does."""

    runtime = Runtime(torch.device(device), torch.float32)

    def fits(cfg: GPTConfig) -> bool:
        return training_memory(cfg, VOCAB_SIZE, rows, runtime, recomputes) <= most

    grown = (replace(cfg, n_layer=n, n_head=n, n_embd=CHANNELS * n) for n in count(1))
    return max(takewhile(fits, grown), key=lambda cfg: cfg.n_layer, default=None)


def words(cfg: GPTConfig | None) -> str:
    if cfg is None:
        return "none"
    millions = total_parameters(cfg, VOCAB_SIZE) / 1e6
    return f"{cfg.n_layer} layers, {cfg.n_embd:,} wide: {millions:,.0f}M parameters"


def table(overrides: list[str]) -> list[str]:
    """Lines of Markdown: a row for each memory, a column for each context."""
    config = from_overrides(overrides)
    check(config)
    cfg, rows = config.model, config.trainer.batch_size
    recomputes = config.trainer.activation_checkpointing
    if not isinstance(cfg, GPTConfig):
        raise ConfigError(Problem("model", f"{cfg.name} has no layers", "model=laptop"))
    lines = [
        "| | " + " | ".join(f"context of {size:,}" for size in CONTEXTS) + " |",
        "|---|---|---|",
    ]
    for device, gib in MACHINES:
        sized = (replace(cfg, block_size=size) for size in CONTEXTS)
        cells = [words(largest(each, rows, device, gib * GIB, recomputes)) for each in sized]
        place = f"{gib} GiB of RAM" if device == "cpu" else f"a GPU of {gib} GiB"
        lines.append(f"| {' | '.join([place, *cells])} |")
    return lines


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="such as model.dropout=0.2")
    try:
        print("\n".join(table(parser.parse_args(arguments).overrides)))
    except GptexpError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
