"""A text that a person and a model write in turn, or a conversation of the two.

`gptexp sample RUN --interactive` is either, by what the run was trained on, and `gptexp chat RUN`
the latter.
"""

import contextlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gptexp.console import show, show_problems
from gptexp.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError, DataError, Problem
from gptexp.text import aligned, plain, plural, unknown_name

if TYPE_CHECKING:
    from gptexp.inference.dials import Sampling
    from gptexp.inference.load import LoadedRun

log = logging.getLogger(__name__)

# What a person may change on the way, by the names of Sampling, with what each means.
DIALS = {
    "tokens": "tokens to add, at most",
    "temperature": "0 takes the likeliest token each time",
    "top_k": "draw among the k likeliest alone",
    "top_p": "among the likeliest that come to this probability",
    "min_p": "none less likely than this share of the likeliest",
    "repetition_penalty": "above 1, what the context has is less likely",
    "stop": "a text ends before it",
    "seed": "the same seed draws the same texts",
}
OFF: dict[str, Any] = {"top_k": None, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
OFF |= {"stop": ()}
COMMANDS = {
    "reset": "forget the text so far",
    "help": "show this, with what holds now",
    "quit": "end, as Ctrl-D does",
}
NAMES = [*DIALS, *COMMANDS]
GREETING = "a line is continued, an empty one goes on; /help lists the dials, /quit ends"
CHAT_GREETING = "a line is answered; /reset begins anew, /help lists the dials, /quit ends"


def dial(name: str) -> str:
    """What an option means that a dialogue can change, as a sentence."""
    return f"{DIALS[name][0].upper()}{DIALS[name][1:]}."


def talk(
    run: "LoadedRun",
    sampling: "Sampling",
    tokens: int,
    lines: Sequence[str],
    system: str | None = None,
) -> int:
    """Answer `lines`, then those that are typed, up to their end; returns the exit code.

    A run of conversations is asked, and `system` is the heading of the conversation. On a terminal
    Ctrl-C breaks off an answer, or a line; elsewhere it ends the program.
    """
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if hasattr(sys.stdin, "reconfigure"):  # what is no UTF-8 is for the tokenizer to refuse
        sys.stdin.reconfigure(errors="surrogateescape")
    if on_terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 (with it, `input` has arrow keys and a history)
        show(CHAT_GREETING if run.config.data.chat else GREETING)
    dialogue, waiting = Dialogue(run, sampling, tokens), list(lines)
    if run.config.data.chat:
        dialogue = Conversation(run, sampling, tokens, system)
    while not dialogue.is_over:
        try:
            dialogue.take(waiting.pop(0) if waiting else input("> " if on_terminal else ""))
        except EOFError:
            dialogue.is_over = True
            show("\n" if on_terminal else "", end="")
        except KeyboardInterrupt:
            show("")
            if not on_terminal:
                return EXIT_INTERRUPTED
        except (ConfigError, DataError) as error:
            show_problems(error)
    return EXIT_OK


class Dialogue:
    """The text so far, and how it goes on."""

    option = "--interactive"  # that a wrong command is told of

    def __init__(self, run: "LoadedRun", sampling: "Sampling", tokens: int) -> None:
        self.run, self.sampling, self.tokens = run, sampling, tokens
        self.text = ""  # typed and drawn; documents begin anew each time
        self.is_over = False

    def take(self, line: str) -> None:
        """Carry out a command, or answer, beginning with the line that is continued.

        Raises ConfigError and DataError, and then nothing has changed.
        """
        if line.startswith("/"):
            name, _, value = line[1:].partition(" ")
            self._command(name.replace("-", "_"), value)
        else:
            self.answer(line)

    def reset(self) -> None:
        """Forget the text so far."""
        self.text = ""

    def answer(self, line: str) -> None:
        """Show how the text goes on behind the line."""
        before = self.text + (self._line_break() if line else "")
        pieces = self.run.stream([before + line or None], self.sampling, self.tokens)
        text, shown = "", len(before)
        try:
            for piece in pieces:
                text += piece.added
                show(text[shown:], end="")
                shown = max(shown, len(text))
            show("")
        finally:  # or Ctrl-C broke it off
            if not self.run.config.data.documents:
                self.text = text or self.text
            self.next_seed()

    def next_seed(self) -> None:
        """Draw the next answer with another seed than this one."""
        self.sampling = replace(self.sampling, seed=(self.sampling.seed + 1) % 2**63)

    def _line_break(self) -> str:
        """What stands between the text so far and a new line, as on the screen."""
        if not self.text or self.text.endswith("\n"):
            return ""
        with contextlib.suppress(DataError):  # a text without any
            self.run.tokenizer.encode("\n")
            return "\n"
        return ""

    def _command(self, begin: str, value: str) -> None:
        names = [name for name in NAMES if name.startswith(begin)]
        match begin if len(names) != 1 else names[0]:
            case "quit":
                self.is_over = True
            case "reset":
                self.reset()
            case "help":
                show(self._help())
            case name if name in DIALS:
                self._turn(name, value)
            case name if name and names:
                known = " or ".join(f"/{_typed(each)}" for each in names)
                what = f"/{_typed(name)} may be {known}"
                raise ConfigError(Problem(self.option, what, "type more of it"))
            case name:
                known_names = [f"/{_typed(each)}" for each in NAMES]
                raise ConfigError(unknown_name(self.option, f"/{_typed(name)}", known_names))

    def _turn(self, name: str, value: str) -> None:
        new = OFF[name] if value == "off" and name in OFF else _value(name, value)
        tokens, sampling = self.tokens, self.sampling
        if name == "tokens":
            tokens = new
        else:
            sampling = replace(sampling, **{name: new})
        ConfigError.raise_for(sampling.problems(tokens, 1))
        self.tokens, self.sampling = tokens, sampling

    def _help(self) -> str:
        values = {name: getattr(self.sampling, name, self.tokens) for name in DIALS}
        dials = [[f"  /{_typed(name)}", _shown(values[name]), DIALS[name]] for name in DIALS]
        return "\n".join(aligned([*dials, *([f"  /{c}", "", m] for c, m in COMMANDS.items())]))


class Conversation(Dialogue):
    """Questions and answers so far, as many as the context holds."""

    option = "chat"

    def __init__(
        self, run: "LoadedRun", sampling: "Sampling", tokens: int, system: str | None
    ) -> None:
        super().__init__(run, sampling, tokens)
        from gptexp.data.conversations import SYSTEM, Message

        self.heading = [] if system is None else [Message(SYSTEM, system)]
        self.messages = self.heading

    def reset(self) -> None:
        self.messages = self.heading

    def answer(self, line: str) -> None:
        """Show the answer to a line, which is part of the conversation from then on.

        Raises ConfigError and DataError.
        """
        from gptexp.data.conversations import ASSISTANT, USER, Message
        from gptexp.inference.reply import reply

        if not line.strip():
            return
        asked = [*self.messages, Message(USER, line)]
        kept, pieces = reply(self.run, asked, self.sampling, self.tokens)
        if left_out := (len(asked) - len(kept)) // 2:
            size = self.run.config.model.block_size
            what = f"{plural(left_out, 'question')} of the beginning left out, with the answers"
            log.warning("the context of %d tokens is full: %s", size, what)
        text = ""
        try:
            for piece in pieces:
                text += piece.added
                show(piece.added, end="")
            show("")
        finally:  # or Ctrl-C broke it off
            self.messages = [*kept, Message(ASSISTANT, text)]
            self.next_seed()


def _typed(name: str) -> str:
    return name.replace("_", "-")


def _value(name: str, text: str) -> Any:
    """The number that was typed, for problems() to judge; of a stop string, itself."""
    if name == "stop":
        return (text.replace("\\n", "\n"),)
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _shown(value: Any) -> str:
    """The value of a dial as one would type it."""
    if value in (None, ()):
        return "off"
    return value[0].replace("\n", "\\n") if isinstance(value, tuple) else plain(value)
