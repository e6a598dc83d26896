"""The next answer of a conversation with a run."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from gptexp.data.chat import Chats
from gptexp.data.conversations import Message
from gptexp.errors import ConfigError, Problem
from gptexp.inference.dials import Sampling
from gptexp.inference.load import LoadedRun
from gptexp.inference.texts import Piece
from gptexp.text import in_shell

ROOM = 4  # of the context, a quarter is left for an answer


def chats_of(run: LoadedRun) -> Chats:
    """The format of a run's conversations; raises ConfigError where it is of another kind."""
    if not isinstance(run.format, Chats):
        what = f"was trained on data={run.config.data.name}, whose texts it continues"
        fix = f"gptexp sample {in_shell(Path(run.path))} --interactive, or a run of data=chat"
        raise ConfigError(Problem(run.path, what, fix))
    return run.format


def reply(
    run: LoadedRun, messages: Sequence[Message], sampling: Sampling, tokens: int
) -> tuple[list[Message], Iterator[Piece]]:
    """The conversation as far back as the model reads it, and what it answers, piece by piece.

    `messages` end with a question. While they leave the answer less room than so many tokens, and
    than a quarter of the context, the oldest question goes with its answer. Raises ConfigError and
    DataError at once.
    """
    ConfigError.raise_for(sampling.problems(tokens, 1))
    chats, size = chats_of(run), run.config.model.block_size
    kept = chats.fitting(messages, run.tokenizer, size - min(tokens, size // ROOM))
    prompt = run.checked(chats.asked(kept, run.tokenizer))
    return kept, run.pieces([prompt], sampling, tokens, 1)
