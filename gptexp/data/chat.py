"""Conversations in training: a row each, whose targets are the tokens of the answers alone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from gptexp.data.conversations import (
    ANSWER,
    ASSISTANT,
    END,
    MARKS,
    QUESTION,
    START,
    SYSTEM,
    USER,
    Message,
    checked_content,
    read_conversations,
    rendered,
    shown,
    without_marks,
)
from gptexp.data.corpus import IGNORE_INDEX, Batch, Ids, Splits, Tokens
from gptexp.data.documents import DocumentCorpus, Documents
from gptexp.data.read import source
from gptexp.errors import DataError, Problem
from gptexp.text import plural
from gptexp.tokenizers.base import Tokenizer

NAMED = {START: "the start of a conversation", QUESTION: "a question", ANSWER: "an answer"}


@dataclass(frozen=True)
class MarkIds:
    """The token of each mark."""

    start: int
    question: int
    answer: int
    end: int


@dataclass(frozen=True)
class Chats(Documents):
    """The format of a file as conversations, one a line; split and ordered as documents are."""

    noun: ClassVar[str] = "conversation"

    def normalise(self, text: str) -> str:
        """All conversations, rendered, in the order that the config wants; raises DataError."""
        return "".join(self.in_order(read_conversations(text, source(self.cfg))))

    def items(self, text: str) -> list[str]:
        return [START + rest for rest in text.split(START)[1:]]

    def training_text(self, text: str) -> str:
        """What merges are learned from: the words of both sides, and no marks among them."""
        every = self.items(text)
        start, end = self.bounds(len(every))["train"]
        return "\n".join(re.split(f"[{MARKS}]+", "".join(every[start:end])))

    def describe(self, text: str, tokenizer: Tokenizer, splits: Splits, block_size: int) -> str:
        """Counts, repeats within and across the splits, what is cut, and what is left out."""
        every, marks = self.items(text), self.marks(tokenizer)
        counts = {name: len(_starts(ids, marks)) for name, ids in splits.items()}
        in_train = set(every[: counts["train"]])
        twice = sum(item in in_train for item in every[slice(*splits.bounds["val"])])
        test = f", {counts['test']:,} test" if counts["test"] else ""
        words = (
            f"{len(every):,} conversations ({len(every) - len(set(every)):,} repeat another) with "
            f"{plural(text.count(END), 'answer')}; {counts['train']:,} train{test}, "
            f"{counts['val']:,} val, {twice:,} of them in train too"
        )
        cut = left_out = 0
        for _, ids in splits.items():
            starts, lengths, whole = _rows(ids, marks, block_size)
            left_out += int(np.count_nonzero(~whole))
            cut += int(np.count_nonzero(np.diff(np.append(starts, len(ids))) - 1 > lengths))
        if cut:
            words += f"; {cut:,} longer than block_size are cut there"
        if left_out:
            words += f", {left_out:,} of them before the end of an answer, and are left out"
        return words

    def marks(self, tokenizer: Tokenizer) -> MarkIds:
        """The ids of the marks; raises DataError where one of them is not one token."""
        ids = [tokenizer.encode(mark).tolist() for mark in MARKS]
        for mark, tokens in zip(MARKS, ids, strict=True):
            if len(tokens) != 1 or ids.count(tokens) > 1:
                what = f"{tokenizer.describe()}: makes {plural(len(tokens), 'token')} of "
                what += f"U+{ord(mark):04X}, the mark of {NAMED.get(mark, 'the end of an answer')}"
                raise DataError(Problem("tokenizer", what, "tokenizer=byte, for one"))
        return MarkIds(*(tokens[0] for tokens in ids))

    def end(self, tokenizer: Tokenizer) -> int:
        """The token after an answer."""
        return self.marks(tokenizer).end

    def halves(self, ids: Tokens, tokenizer: Tokenizer, place: int) -> tuple[Tokens, Tokens]:
        """Both are whole conversations."""
        edge = int(_starts(ids[: place + 1], self.marks(tokenizer))[-1])
        return ids[:edge], ids[edge:]

    def target_mask(self, ids: Tokens, tokenizer: Tokenizer, block_size: int) -> NDArray[np.bool_]:
        """The answers, each with its end, within the context."""
        marks = self.marks(tokenizer)
        is_target = _of_answers(ids, marks)
        starts, lengths, whole = _rows(ids, marks, block_size)
        in_row = np.zeros(len(ids) + 1, np.int64)
        np.add.at(in_row, starts[whole], 1)
        np.add.at(in_row, (starts + lengths)[whole] + 1, -1)
        return is_target & (in_row[:-1].cumsum() > 0)

    def prompt(self, text: str | None, tokenizer: Tokenizer) -> Ids:
        """A conversation that begins with a question, up to its answer."""
        if text is None:
            what, fix = "none is given, and this run answers questions", "a question"
            raise DataError(Problem("prompt", what, fix))
        return self.asked([Message(USER, text)], tokenizer)

    def asked(self, messages: Sequence[Message], tokenizer: Tokenizer) -> Ids:
        """The ids of a conversation up to the answer to its last question; raises DataError."""
        checked = []
        for role, content in messages:
            try:  # whatever a model said it did say
                own = without_marks(content) if role == ASSISTANT else checked_content(content)
            except ValueError as error:
                raise DataError(Problem("prompt", f"{error}", "a text of other words")) from error
            checked.append(Message(role, own))
        return self.encoded([rendered(checked)], tokenizer)

    def fitting(
        self, messages: Sequence[Message], tokenizer: Tokenizer, most: int
    ) -> list[Message]:
        """Of a conversation that ends with a question, what has at most so many tokens if it may.

        The oldest question goes first, with its answer; what the system says and the last question
        stay. Raises DataError.
        """
        first = 1 if messages[0].role == SYSTEM else 0
        kept = list(messages)
        while len(kept) > first + 1 and len(self.asked(kept, tokenizer)) > most:
            del kept[first : first + 2]
        return kept

    def questions(self, val: Tokens, tokenizer: Tokenizer, block_size: int) -> list[Ids]:
        marks = self.marks(tokenizer)
        starts = _starts(val, marks)
        answers = np.flatnonzero(val == marks.answer)
        ends = answers[np.searchsorted(answers, starts)] + 1
        return [
            val[start:end].astype(np.int64)
            for start, end in zip(starts, ends, strict=True)
            if end - start <= block_size
        ]

    def shown(self, text: str) -> str:
        return shown(text).strip("\n")

    def join(self, texts: list[str]) -> str:
        return "\n\n".join(texts)

    def encoded(self, lines: list[str], tokenizer: Tokenizer) -> Ids:
        """The ids of conversations: of each piece between two marks by itself.

        So no token reaches over a mark, and an answer is encoded as a person's words are that ask
        for it.
        """
        self.marks(tokenizer)
        ids = [tokenizer.encode(piece) for line in lines for piece in _pieces(line)]
        return np.concatenate([tokenizer.encode(""), *ids])

    def corpus(
        self,
        splits: Splits,
        tokenizer: Tokenizer,
        block_size: int,
        rows: int,
        seed: int,
        device: torch.device,
    ) -> "ChatCorpus":
        """Raises DataError for a split that the context holds no whole answer of."""
        marks = self.marks(tokenizer)
        problems = []
        for name, ids in splits.items():
            whole = _rows(ids, marks, block_size)[2]
            if len(whole) and not whole.any():
                what = f"{block_size} is too short for an answer of {name}, of {source(self.cfg)}"
                problems.append(Problem("model.block_size", what, "a larger one, or shorter ones"))
        DataError.raise_for(problems)
        return ChatCorpus(splits, block_size, rows, seed, device, marks)


class ChatCorpus(DocumentCorpus):
    """Whole conversations, as DocumentCorpus has documents, of which answers alone are targets.

    The ends of answers are targets too. Of a conversation that is longer than the context its
    beginning counts; one whose first answer does not end in it is left out.
    """

    def __init__(
        self,
        splits: Splits,
        block_size: int,
        rows: int,
        seed: int,
        device: torch.device,
        marks: MarkIds,
    ) -> None:
        self.marks = marks
        super().__init__(splits, block_size, rows, seed, device, marks.end)

    def rows_of(self, ids: Tokens) -> tuple[Ids, Ids, Ids]:
        starts, lengths, whole = _rows(ids, self.marks, self.block_size)
        before = np.append(0, _of_answers(ids, self.marks).cumsum())  # targets before each token
        targets = before[starts + lengths + 1] - before[starts]
        return starts[whole], lengths[whole], targets[whole]

    def rows_at(self, split: str, chosen: Ids) -> Batch:
        inputs, targets = super().rows_at(split, chosen)
        opened = (inputs == self.marks.answer).cumsum(dim=1)
        closed = (inputs == self.marks.end).cumsum(dim=1)
        return Batch(inputs, targets.masked_fill(opened <= closed, IGNORE_INDEX))


def _pieces(line: str) -> list[str]:
    """The marks of a rendered conversation, and what stands between them."""
    return list(filter(None, re.split(f"([{MARKS}])", line)))


def _starts(ids: Tokens, marks: MarkIds) -> Ids:
    """Where each conversation of a split begins."""
    return np.flatnonzero(ids == marks.start)


def _of_answers(ids: Tokens, marks: MarkIds) -> NDArray[np.bool_]:
    """Which tokens of a split are of an answer, or its end, [tokens]."""
    steps = (ids == marks.answer).astype(np.int8) - (ids == marks.end).astype(np.int8)
    return np.append(0, steps)[:-1].cumsum() > 0  # begun before the token, and not ended


def _rows(ids: Tokens, marks: MarkIds, block_size: int) -> tuple[Ids, Ids, NDArray[np.bool_]]:
    """Of each conversation its start, the length of its row, and whether that has an answer whole.

    All [conversations].
    """
    starts = _starts(ids, marks)
    lengths = np.minimum(np.diff(np.append(starts, len(ids))) - 1, block_size)
    ends = np.flatnonzero(ids == marks.end)
    return starts, lengths, ends[np.searchsorted(ends, starts)] <= starts + lengths
