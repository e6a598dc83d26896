"""Writes in odd places: names that patterns and systems do not like."""

import pytest

from gptexp.errors import StorageError
from gptexp.files import made_aside, write_text


@pytest.mark.parametrize("name", ["a", "a**b", "a[bc]", "*", "?"])
def test_a_folder_that_is_made_aside_clears_what_is_left_of_its_own_name_alone(tmp_path, name):
    own, other = (tmp_path / f".{word}.0123.tmp" for word in (name, "other"))
    own.mkdir()
    other.mkdir()
    with made_aside(tmp_path / name) as folder:
        folder.mkdir()
        assert not own.exists()
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / name, other])


def test_a_name_that_the_system_finds_too_long_is_told_to_be_shorter(tmp_path):
    with pytest.raises(StorageError, match="File name too long. Fix: give it a shorter name"):
        write_text(tmp_path / ("x" * 300), "")
