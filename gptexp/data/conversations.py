"""Conversations: a line of JSON each in a file, and as a text with a mark before and after turns.

The marks are control characters that ASCII has for this: SOH before the heading, which is the
system's text and may be empty, ENQ before a question, STX before an answer and ETX after it. Each
is one byte, and so one token of every tokenizer of ours; no text that people write holds one, so
no message can pass for the marks around it. Torch-free.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from gptexp.data.read import with_line_feeds
from gptexp.errors import DataError, Problem
from gptexp.text import plural, shortened

START, QUESTION, ANSWER, END = MARKS = "\x01\x05\x02\x03"

NAMES = {START: "", QUESTION: "user: ", ANSWER: "\nassistant: ", END: "\n"}  # for people

SYSTEM, USER, ASSISTANT = ROLES = ("system", "user", "assistant")

MOST_CHARACTERS = 2**22  # of a line: a conversation of some hundred thousand words

MOST_PROBLEMS = 10  # lines that are wrong, of which a person is told at once

EXAMPLE = (
    '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}'
)


class Message(NamedTuple):
    """What one side says."""

    role: str  # one of ROLES
    content: str


class _MalformedError(ValueError):
    """A line that is no conversation."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.fix = what, fix


def read_conversations(text: str, named: str) -> list[str]:
    """The conversations of a file's text, which is called so, each as `rendered`.

    Empty lines are dropped. Raises DataError with a line for each of the first that are none.
    """
    lines = ((n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip())
    conversations: list[str] = []

    def problems() -> Iterator[Problem]:
        for number, line in lines:
            try:
                conversations.append(rendered(_messages(line)))
            except _MalformedError as error:
                yield Problem(f"{named}, line {number}", error.what, error.fix)

    DataError.raise_for(islice(problems(), MOST_PROBLEMS))
    return conversations


def rendered(messages: Sequence[Message]) -> str:
    """The text of a conversation: its heading, then questions and answers, each behind its mark.

    One that ends with a question ends with the mark of the answer that is to come.
    """
    heading, turns = "", list(messages)
    if turns and turns[0].role == SYSTEM:
        heading = turns.pop(0).content
    parts = (
        QUESTION + turn.content + ANSWER if turn.role == USER else turn.content + END
        for turn in turns
    )
    return START + heading + "".join(parts)


def shown(text: str) -> str:
    """A rendered text as people read it, with the name of who speaks in the place of each mark."""
    return "".join(NAMES.get(character, character) for character in text)


def without_marks(text: str) -> str:
    """The text that a model drew, as a message of a conversation that goes on."""
    return text.translate(dict.fromkeys(map(ord, MARKS)))


def checked_content(text: str) -> str:
    """A message with the line ends of a corpus; raises ValueError for what cannot be one, why."""
    if not text.strip():
        raise ValueError("is empty")
    for character in f"\0{MARKS}":
        if character in text:
            raise ValueError(f"holds U+{ord(character):04X}, a control character that is no text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"holds U+{ord(text[error.start]):04X}, half a character") from error
    return with_line_feeds(text)


def _messages(line: str) -> list[Message]:
    """The messages of one line; raises _MalformedError."""
    value = _parsed(line)
    if isinstance(value, dict):
        if "messages" not in value:
            keys = shortened(", ".join(map(str, value)) or "nothing")
            raise _MalformedError(f"has {keys}, and no messages", EXAMPLE)
        value = value["messages"]
    if not isinstance(value, list):
        raise _MalformedError(f"{_as_json(value)} is no list of messages", EXAMPLE)
    messages = [_message(number, item) for number, item in enumerate(value, 1)]
    _check_order(messages)
    return messages


def _parsed(line: str) -> Any:
    """The JSON of a line, in which no object has a key twice; raises _MalformedError."""
    if len(line) > MOST_CHARACTERS:
        what = f"{len(line):,} characters, and a conversation has at most {MOST_CHARACTERS:,}"
        raise _MalformedError(what, "one conversation a line")
    try:
        return json.loads(line, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        what = f"not JSON: {error.msg} at character {error.pos + 1}"
        raise _MalformedError(what, f"one conversation a line, as {EXAMPLE}") from error
    except _MalformedError:
        raise
    except (RecursionError, ValueError) as error:  # ValueError: a number of too many digits
        deep = isinstance(error, RecursionError)
        what = f"not read: {'lists in lists, too deep' if deep else error}"
        raise _MalformedError(what, EXAMPLE) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            what = f"has the key {_as_json(key)} twice in one object"
            raise _MalformedError(what, "leave one of them")
        values[key] = value
    return values


def _message(number: int, item: Any) -> Message:
    """One message, the `number`th of its conversation; raises _MalformedError."""
    if not isinstance(item, dict):
        raise _MalformedError(f"message {number}, {_as_json(item)}, is no object", EXAMPLE)
    for key in ("role", "content"):
        if key not in item:
            raise _MalformedError(f"message {number} has no {key}", EXAMPLE)
    role, content = item["role"], item["content"]
    if role not in ROLES:
        what = f"message {number} has the role {_as_json(role)}"
        raise _MalformedError(what, f"one of {', '.join(ROLES)}, or leave it out")
    if not isinstance(content, str):
        what = f"message {number} has the content {_as_json(content)}, which is no text"
        raise _MalformedError(what, "a text in quotes")
    if role == SYSTEM and not content.strip():
        return Message(SYSTEM, "")
    try:
        return Message(role, checked_content(content))
    except ValueError as error:
        fix = "a text in it, or leave the conversation out"
        raise _MalformedError(f"message {number}, of the {role}, {error}", fix) from error


def _check_order(messages: Sequence[Message]) -> None:
    """Raises _MalformedError where questions and answers do not take turns, up to an answer."""
    roles = [message.role for message in messages]
    fix = "perhaps one of the system, then user and assistant in turn"
    if not roles:
        raise _MalformedError("there are no messages", EXAMPLE)
    first = 1 if roles[0] == SYSTEM else 0
    for place in range(first, len(roles)):
        wanted = USER if (place - first) % 2 == 0 else ASSISTANT
        if roles[place] != wanted:
            what = f"message {place + 1} is of the {roles[place]} where the {wanted} has the turn"
            raise _MalformedError(what, fix)
    if roles[-1] != ASSISTANT:
        what = f"ends after {plural(len(roles), 'message')} without an answer of the assistant"
        raise _MalformedError(what, "add the answer, or leave the question out")


def _as_json(value: Any) -> str:
    """A value of a file as JSON has it, of a long one its beginning."""
    return shortened(json.dumps(value))
