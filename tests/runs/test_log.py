"""run.log: written at its end, and nowhere else."""

import logging
from pathlib import Path

from gptexp.runs.log import logged_to


def test_a_link_in_the_place_of_a_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("mine\n")
    (tmp_path / "run.log").symlink_to("own.txt")
    with logged_to(tmp_path / "run.log"):
        logging.getLogger("gptexp").info("step 1")
    assert (tmp_path / "own.txt").read_text() == "mine\n"
