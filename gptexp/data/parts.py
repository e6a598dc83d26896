"""The parts of a mix: which corpus each is, how it is cut, and its share. Torch-free."""

from dataclasses import replace

from gptexp.config import DataConfig
from gptexp.config.corpora import corpora, corpus
from gptexp.config.data import is_file, part_label
from gptexp.errors import DataError, Problem


def shares(data: DataConfig) -> dict[str, float]:
    """The share of training rows of each part, by its label; they add up to 1."""
    total = sum(data.parts.values())
    labelled = sorted((part_label(key), share) for key, share in data.parts.items())
    return {label: share / total for label, share in labelled}


def parts_of(data: DataConfig) -> dict[str, DataConfig]:
    """The section of each part, by its label, in the order of the labels.

    An entry of conf/data is cut to validation as it says, a file as the mix does; what else there
    is, the mix says for all. Raises DataError for what is no corpus, and for texts and documents
    together.
    """
    sections = {part_label(key): _section(data, key) for key in data.parts}
    labels = [part_label(key) for key in data.parts]
    problems = [
        Problem("data.parts", f"two parts are called {label}", "give one file another name")
        for label in sections
        if labels.count(label) > 1
    ]
    kinds = {True: "documents", False: "one text"}
    problems += [
        Problem(
            f"data.parts.{label}",
            f"is {kinds[part.documents]}, and data.documents={str(data.documents).lower()}",
            f"leave it out, or data.documents={str(part.documents).lower()} and none but such",
        )
        for label, part in sections.items()
        if part.documents != data.documents
    ]
    DataError.raise_for(problems)
    return dict(sorted(sections.items()))


def _section(data: DataConfig, key: str) -> DataConfig:
    """The section of one part; raises DataError."""
    if is_file(key):
        return replace(data, name=part_label(key), path=key, parts={})
    if (entry := corpus(key)) is None:
        what = f"no corpus that conf/data names; those are {', '.join(corpora())}"
        fix = f"one of them, or a file, as data.parts={{./{key}: 1}}"
        raise DataError(Problem(f"data.parts.{key}", what, fix))
    if entry.tokens or entry.chat:
        kind = "token files" if entry.tokens else "conversations"
        what = f"{kind}, and a mix is of texts or of documents"
        raise DataError(Problem(f"data.parts.{key}", what, "leave it out"))
    return replace(
        entry,
        name=key,
        fraction=data.fraction,
        test_fraction=data.test_fraction,
        sampling=data.sampling,
    )
