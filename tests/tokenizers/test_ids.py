"""Bare ids: texts of numbers."""

import numpy as np
import pytest
from small_runs import only, problem_lines

from gptexp.errors import DataError
from gptexp.tokenizers.build import tokenizer_from_dict
from gptexp.tokenizers.ids import TokenIds


def test_ids_are_numbers_with_a_space_behind_and_come_back():
    tokenizer = TokenIds(50257)
    assert tokenizer.decode([464, 0, 50256]) == "464 0 50256 "
    assert tokenizer.decode([464]) + tokenizer.decode(np.array([0])) == "464 0 "
    assert tokenizer.encode(" 464\n0  50256").tolist() == [464, 0, 50256]
    assert tokenizer.encode("").tolist() == []
    again = tokenizer_from_dict(tokenizer.to_dict())
    assert isinstance(again, TokenIds) and again.vocab_size == 50257


@pytest.mark.parametrize("text", ["hello", "-1", "10", "1.5", "٣", "9" * 10**6, " \n", "1 x"])
def test_what_is_no_id_is_one_line(text):
    with pytest.raises(DataError) as refused:
        TokenIds(10).encode(text)
    assert len(only(problem_lines(refused.value))) < 200
