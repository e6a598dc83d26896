"""The n-gram losses on the corpus of a report, for its figures and words."""

from dataclasses import dataclass

from gptexp.analysis.units import vocabulary
from gptexp.config import UNITS
from gptexp.report.results import Record, Results
from gptexp.runs.schema import Text


@dataclass(frozen=True)
class NgramBaselines:
    """Validation losses of n-grams, see ngrams.losses."""

    losses: list[float]  # of order 1, 2, ..., in nats per token
    unit: str  # what is counted: characters, bytes or tokens
    tokens: int  # of the training set that they were counted on
    largest: bool  # whether there are smaller ones in the report

    @property
    def orders(self) -> str:
        """The orders in words, such as `1 to 5 characters`."""
        count = len(self.losses)
        return f"{f'1 to {count}' if count > 1 else '1'} {self.unit}"

    @property
    def words(self) -> str:
        """The losses in one line, such as `3.3473, 2.4857`."""
        return ", ".join(f"{loss:.4f}" for loss in self.losses)

    @property
    def training_set(self) -> str:
        """The training set in words."""
        return f"the {'largest ' if self.largest else ''}training set, {self.tokens:,} tokens"


def of(results: Results) -> NgramBaselines | None:
    """The baselines of the largest training set, where all runs have one text in one vocabulary.

    None where the finished runs are judged on different texts or tokens, do not say, or disagree.
    """
    done = [record for record in results.records.values() if record.run.done]
    if len({_judged_by(record) for record in done}) != 1:
        return None
    sizes = {record.tokens for record in done if record.tokens is not None}
    most = max(sizes, default=None)
    counted = [record.ngrams for record in done if record.tokens == most and record.ngrams]
    unit = UNITS.get(str(done[0].run.config.get("tokenizer.name")))
    if (
        most is None
        or unit is None
        or not counted
        or any(losses != counted[0] for losses in counted)
    ):
        return None
    return NgramBaselines(counted[0], unit, most, len(sizes) > 1)


def _judged_by(record: Record) -> tuple[object, ...]:
    """The text and the tokens that a run is judged by, and where the validation split lies."""
    bounds = record.manifest.get("data", Text()).get("bounds", {})
    return record.run.data_sha256, vocabulary(record.run), str(bounds.get("val"))
