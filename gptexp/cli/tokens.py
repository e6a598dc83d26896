"""The verb that turns texts into token files: tokenize."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gptexp.cli.paths import announced, home
from gptexp.config.words import quoted
from gptexp.console import show
from gptexp.errors import ConfigError, Problem
from gptexp.text import plural

if TYPE_CHECKING:
    from gptexp.data.token_manifest import TokenManifest

KINDS = ("gpt2", "bpe", "char", "byte")

LEAST_BPE = 256  # tokens: the bytes


def tokenize(
    files: Annotated[
        list[str],
        typer.Argument(help="UTF-8 texts; .jsonl or .ndjson, a document a line; .parquet, a row."),
    ],
    to: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the token files go.", callback=home)
    ],
    tokenizer: Annotated[
        str,
        typer.Option(metavar="NAME", help=f"{', '.join(KINDS)}, or a run: with its own."),
    ] = "gpt2",
    vocab_size: Annotated[
        int | None, typer.Option(help="Tokens of bpe, learned from the part for training.")
    ] = None,
    field: Annotated[
        str, typer.Option(metavar="NAME", help="Of a line or row, that holds the text.")
    ] = "text",
    end_of_text: Annotated[
        bool, typer.Option(help="<|endoftext|> after each document, of gpt2's tokens.")
    ] = True,
    val_fraction: Annotated[
        float, typer.Option(help="The share at the end that is for validation; 0 for none.")
    ] = 0.1,
    shard_tokens: Annotated[
        int, typer.Option(help="Tokens of a file, at most.", min=1, max=2**31 - 1)
    ] = 100_000_000,
    workers: Annotated[
        int | None, typer.Option(help="Processes; all cores if left out.", min=1)
    ] = None,
) -> None:
    """Turn texts into a folder of token files, which data=tokens trains on.

    The same command again goes on behind the last whole file.
    """
    if not 0 <= val_fraction < 1:
        what = f"{val_fraction:g} is not in [0, 1)"
        raise ConfigError(Problem("--val-fraction", what, "--val-fraction 0.1"))
    own = None if tokenizer in KINDS else _of_run(tokenizer)
    _check_vocab_size(tokenizer, vocab_size)
    from gptexp.data.token_folder import Options
    from gptexp.data.tokenize import tokenize as write
    from gptexp.runtime.pool import cores

    name = own["name"] if own else tokenizer
    options = Options(name, vocab_size, field, end_of_text, val_fraction, shard_tokens)
    _show(to, write(files, to, options, workers or cores(), own))


def _check_vocab_size(tokenizer: str, vocab_size: int | None) -> None:
    if tokenizer == "bpe" and (vocab_size is None or vocab_size < LEAST_BPE):
        what = "how many tokens?" if vocab_size is None else f"{vocab_size}, and the bytes are 256"
        raise ConfigError(Problem("--vocab-size", what, "--vocab-size 4096, for one"))
    if tokenizer != "bpe" and vocab_size is not None:
        what = f"{vocab_size}, and only bpe learns its tokens"
        raise ConfigError(Problem("--vocab-size", what, "--tokenizer bpe, or leave it out"))


def _of_run(words: str) -> dict[str, Any]:
    """The tokenizer of a run, as checkpoints hold it; raises ConfigError and what load raises."""
    import gptexp
    from gptexp.analysis.find import look_up

    run = look_up(words)
    if run is None:
        what = f"{words!r:.60} is neither a tokenizer nor a run"
        fix = f"one of {', '.join(KINDS)}, or a run's directory"
        raise ConfigError(Problem("--tokenizer", what, fix))
    state = gptexp.load(announced(run)).tokenizer.to_dict()
    if state["name"] not in KINDS:
        what = f"{state['name']} is own code, which other processes do not have"
        raise ConfigError(Problem("--tokenizer", what, f"one of {', '.join(KINDS)}"))
    return state


def _show(folder: Path, manifest: "TokenManifest") -> None:
    for split in ("train", "val"):
        shards = manifest.of_split(split)
        tokens = sum(shard.tokens for shard in shards)
        show(f"{split:<7} {tokens:,} tokens in {plural(len(shards), 'file')}")
    about = f"{manifest.vocab_size:,} tokens of {manifest.options['tokenizer']}"
    if manifest.end_of_text is not None:
        about += f", {manifest.end_of_text} ends a document"
    show(f"vocab   {about}")
    show(f"next    python run.py data=tokens {quoted('data.path', str(folder))}")
