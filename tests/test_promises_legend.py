"""PROMISES.md says what each id in a test's name stands for, and no more."""

import re

from small_runs import ROOT

TESTS = ROOT / "tests"


def ids(name: str) -> list[str]:
    """The ids of a test's name: P3 and R10 of test_P3_R10_it_holds."""
    return re.findall(r"(?<=_)[A-Z]\d+(?=_)", name)


def test_every_id_in_a_test_name_has_its_line_and_every_line_its_test():
    sources = [path.read_text(encoding="utf-8") for path in sorted(TESTS.rglob("test_*.py"))]
    names = {name for source in sources for name in re.findall(r"def (test_\w+)", source)}
    legend = re.findall(
        r"^- \*\*(\w+)\*\* .+\.$", (TESTS / "PROMISES.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert legend == sorted(set(legend), key=in_order)
    assert set(legend) == {promise for name in names for promise in ids(name)}


def in_order(promise: str) -> tuple[bool, str, int]:
    """P, which is about all of them, comes first."""
    return promise[0] != "P", promise[0], int(promise[1:])
