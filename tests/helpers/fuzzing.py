"""How hypothesis works here: the same examples each time, as many as a test says, no files."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.configuration import set_hypothesis_home_dir
from small_runs import ROOT, Result

from gptexp.errors import GptexpError

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis-of-gptexp")
settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=False,
    suppress_health_check=[  # a fixture is made once for all examples, and each cleans up
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
)
settings.load_profile("repeatable")


def examples(count: int, **others: Any) -> settings:
    """So many examples, in a test that is run with each pull request or by `-m slow`."""
    return settings(max_examples=count, **others)


def unshrunk(count: int) -> settings:
    """As many, where to look for a smaller one would take minutes."""
    return settings(max_examples=count, phases=[Phase.explicit, Phase.generate])


def assert_one_line_each(error: GptexpError) -> None:
    """The mistake is one that a person made or found, worded as all are."""
    assert error.exit_code in (2, 4), error
    assert error.problems
    for problem in error.problems:
        line = str(problem)
        assert len(line.splitlines()) == 1 and ": " in line and ". Fix: " in line, line


def in_a_process(*words: object, cwd: Path | None = None) -> Result:
    """What `python WORDS` leaves, a process of its own."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    return Result(done.returncode, out, err)
