"""The runs of an ensemble: read, and refused where they are not judged on the same tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gptexp.analysis.labels import label_paths
from gptexp.analysis.mixing import LogProbs
from gptexp.config import Config, check
from gptexp.data.corpus import SPLITS
from gptexp.data.load import LoadedCorpus, read_corpus, split_corpus
from gptexp.errors import ConfigError, GptexpError, Problem
from gptexp.experiment.evaluate import check_part, own_corpus
from gptexp.inference.load import load_run
from gptexp.text import plain
from gptexp.tokenizers.base import Tokenizer

JUDGED = ("val", "test")  # what runs are judged on together

# Keys of data that bound splits.
CUTS = ("documents", "chat", "shuffle", "val_fraction", "test_fraction", "val_tokens")


@dataclass(frozen=True)
class Member:
    """A run, or a checkpoint, without its model, which is read when its turn comes."""

    path: Path
    name: str  # what tells it from the others
    config: Config
    tokenizer: Tokenizer
    sha256: str  # of its text


def read_members(runs: Sequence[Path], split: str) -> list[Member]:
    """What the runs are judged with; raises ConfigError with a line for each that does not fit."""
    if split not in JUDGED:
        raise ConfigError(Problem("--split", f"{split!r} is not known", "val or test"))
    members: list[Member] = []
    problems: list[Problem] = []
    seen: set[Path] = set()
    for path, name in zip(runs, label_paths(runs), strict=True):
        if (real := path.resolve()) in seen:
            problems.append(Problem(path, "there twice", "name it once"))
            continue
        seen.add(real)
        try:
            member = _read(path, name, split)
        except GptexpError as error:
            problems += error.problems
            continue
        if members and (what := _unlike(members[0], member)):
            problems.append(Problem(path, what, f"leave it out, or {members[0].path}"))
        members.append(member)
    ConfigError.raise_for(problems)
    return members


def judged_text(members: Sequence[Member], split: str, *, whole: bool) -> LoadedCorpus:
    """The text of all, with what is judged as its validation split.

    The `whole` has the largest of their training splits too, and the test split where that is not
    judged. Raises DataError.
    """
    most = max(members, key=lambda member: member.config.data.fraction)
    data = most.config.data
    text = read_corpus(data, most.sha256)
    # Windows may be shorter than the context, so what is judged alone has to be there.
    cut = split_corpus(data, text, most.tokenizer, 1, SPLITS if whole else (split,))
    splits = cut.splits
    if split == "test":
        splits = replace(splits, val=splits.test, test=splits.test[:0])
    return replace(cut, splits=splits, block_size=most.config.model.block_size)


def check_targets(members: Sequence[Member], text: LoadedCorpus) -> None:
    """Raise ConfigError for runs that predict other tokens of a text, as of long documents."""
    ids, first = text.splits.val, members[0]
    masks = {
        member.path: text.format.target_mask(ids, member.tokenizer, _context(member))
        for member in members
    }
    ConfigError.raise_for(
        Problem(
            member.path,
            f"model.block_size={_context(member)} cuts documents elsewhere than {_context(first)}",
            f"leave it out, or {first.path}",
        )
        for member in members
        if not np.array_equal(masks[member.path], masks[first.path])
    )


def predictions(
    members: Sequence[Member], texts: Sequence[LoadedCorpus], device: str
) -> tuple[list[list[LogProbs]], NDArray[np.int64]]:
    """What each run predicts of each text, one model after another; and how the first is read.

    That is the targets of each window, [windows], of the widest context.
    """
    predicted: list[list[LogProbs]] = [[] for _ in texts]
    sizes: list[NDArray[np.int64]] = []
    for member in members:
        run = load_run(member.path, device)
        cuts = [replace(text, block_size=_context(member)) for text in texts]
        judged = [run.each_loss(cut, "val") for cut in cuts]
        sizes.append(judged[0][1].numpy())
        for of_text, (losses, _) in zip(predicted, judged, strict=True):
            of_text.append(-losses.numpy())
    return predicted, min(sizes, key=len)


def _read(path: Path, name: str, split: str) -> Member:
    loaded = load_run(path)
    check(loaded.config)
    check_part(split, loaded.config.data)
    if loaded.config.data.parts:
        what = "is of a mix, whose loss is a mean of its parts' and not one of tokens"
        raise ConfigError(Problem(path, what, "leave it out"))
    data, sha256 = own_corpus(path, loaded.config.data)
    return Member(path, name, replace(loaded.config, data=data), loaded.tokenizer, sha256)


def _unlike(first: Member, other: Member) -> str | None:
    """Why two runs are not judged on the same tokens; None where they may be."""
    if other.sha256 != first.sha256:
        return f"has another text than {first.path}"
    for key in CUTS:
        values = [getattr(member.config.data, key) for member in (other, first)]
        if values[0] != values[1]:
            return f"has data.{key}={plain(values[0])}, and {first.path} {plain(values[1])}"
    if other.tokenizer.to_dict() != first.tokenizer.to_dict():
        theirs, ours = other.tokenizer.describe(), first.tokenizer.describe()
        return f"reads {theirs}, and {first.path} {'others' if theirs == ours else ours}"
    return None


def _context(member: Member) -> int:
    return member.config.model.block_size
