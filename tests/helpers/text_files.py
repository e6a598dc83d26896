"""Texts for tests: the settings of a file, and what is said of one that cannot be used."""

from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import ONE_LINE, only, problem_lines

from gptexp.config import DataConfig
from gptexp.errors import DataError


def settings(path: Path | str = "text.txt", **changes: float) -> DataConfig:
    values = {"fraction": 1.0, "val_fraction": 0.1, "test_fraction": 0.0} | changes
    return DataConfig(name="text", asset=None, path=str(path), **values)


def data_problems(call: Callable[..., object], *arguments: object) -> list[str]:
    """The lines of the DataError that `call` raises, each of which names its cure."""
    with pytest.raises(DataError) as caught:
        call(*arguments)
    for line in problem_lines(caught.value):
        assert ONE_LINE.fullmatch(line), line
    return problem_lines(caught.value)


def data_problem(call: Callable[..., object], *arguments: object) -> str:
    """The one line of the DataError that `call` raises."""
    return only(data_problems(call, *arguments))
