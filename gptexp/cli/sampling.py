"""The verbs that draw from one model: sample, and chat."""

from pathlib import Path
from typing import Annotated

import typer

import gptexp
from gptexp.cli.dialogue import dial, talk
from gptexp.cli.paths import RUN, Plugins, Weights, check_device, one_run
from gptexp.cli.texts import show_texts
from gptexp.errors import ConfigError, Problem

Run = Annotated[Path, typer.Argument(help=f"A checkpoint file, or a run: {RUN}", callback=one_run)]
Tokens = Annotated[int, typer.Option(help=dial("tokens"))]
Temperature = Annotated[float, typer.Option(help=dial("temperature"))]
TopK = Annotated[int | None, typer.Option(help=dial("top_k"))]
TopP = Annotated[float, typer.Option(help=dial("top_p"))]
MinP = Annotated[float, typer.Option(help=dial("min_p"))]
Penalty = Annotated[float, typer.Option(help=dial("repetition_penalty"))]
Stop = Annotated[list[str] | None, typer.Option(metavar="TEXT", help=f"{dial('stop')} Repeatable.")]
Seed = Annotated[int, typer.Option(help=dial("seed"))]
Device = Annotated[str, typer.Option(help="cpu, mps, cuda or cuda:N.")]


def sample(
    run: Run,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="What to continue, or of conversations to answer; a line break if left out. "
            "Repeatable.",
        ),
    ] = None,
    tokens: Tokens = 500,
    temperature: Temperature = 0.8,
    top_k: TopK = None,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    repetition_penalty: Penalty = 1.0,
    stop: Stop = None,
    num: Annotated[int, typer.Option(help="How many texts, of each prompt.")] = 1,
    seed: Seed = 0,
    interactive: Annotated[
        bool, typer.Option("--interactive", help="Type lines to continue; /help lists the rest.")
    ] = False,
    device: Device = "cpu",
    weights: Weights = "raw",
    plugins: Plugins = None,
) -> None:
    """Generate text from a run's best checkpoint, shown as it is drawn."""
    check_device(device)
    loaded = gptexp.load(run, device, weights=weights)
    from gptexp.inference.dials import Sampling

    stops = tuple(stop or ())
    sampling = Sampling(temperature, top_k, seed, top_p, min_p, repetition_penalty, stops)
    if interactive:
        if num != 1:
            what = f"{num} texts, and --interactive draws one at a time"
            raise ConfigError(Problem("--num", what, "leave it out"))
        ConfigError.raise_for(sampling.problems(tokens, num))
        raise typer.Exit(talk(loaded, sampling, tokens, prompt or []))
    prompts: list[str | None] = [*prompt] if prompt else [None]
    pieces = loaded.stream(prompts, sampling, tokens, num)
    show_texts(pieces, len(prompts) * num, headed=not loaded.config.data.documents)


def chat(
    run: Run,
    system: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What the system says before the first question."),
    ] = None,
    tokens: Tokens = 500,
    temperature: Temperature = 0.0,
    top_k: TopK = None,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    repetition_penalty: Penalty = 1.0,
    stop: Stop = None,
    seed: Seed = 0,
    device: Device = "cpu",
    weights: Weights = "raw",
    plugins: Plugins = None,
) -> None:
    """Talk with a run that was trained on conversations: a line is a question.

    Lines come from a pipe or a file too; then each has its answer on a line, and nothing else.
    """
    check_device(device)
    loaded = gptexp.load(run, device, weights=weights)
    from gptexp.inference.dials import Sampling
    from gptexp.inference.reply import chats_of

    chats_of(loaded)
    stops = tuple(stop or ())
    sampling = Sampling(temperature, top_k, seed, top_p, min_p, repetition_penalty, stops)
    ConfigError.raise_for(sampling.problems(tokens, 1))
    raise typer.Exit(talk(loaded, sampling, tokens, [], system))
