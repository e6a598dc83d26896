"""Tables of anybody's runs: what is read, what is rejected, and one line for what is no table."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import only, refusal

from gptexp.errors import DataError
from gptexp.laws import table
from gptexp.laws.forms import LAWS
from gptexp.laws.isoflop import isoflop
from gptexp.laws.judge import judge_laws
from gptexp.laws.observed import LISTED
from gptexp.laws.screen import left_out
from gptexp.laws.table import Columns, read_table

PLAIN = Columns("n", "d", "loss")


@pytest.fixture
def read(tmp_path):
    """`read("n,d,loss\\n...")`: the observations of a file with that text."""

    def call(text, columns=PLAIN, name="runs.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_table(path, columns)

    return call


def test_the_columns_are_found_by_their_names_and_the_rows_by_their_lines(read):
    observed = read("name,loss,d,n\na,2.5,1e9,4e6\n\nb,2.25,2e9,8e6\n")
    assert observed.points.n.tolist() == [4e6, 8e6]
    assert observed.points.tokens.tolist() == observed.points.unique.tolist() == [1e9, 2e9]
    assert observed.points.loss.tolist() == [2.5, 2.25]
    assert observed.labels == ["line 2", "line 4"]
    assert "no token was seen twice" in observed.convention


def test_unique_tokens_are_at_most_those_seen(read):
    observed = read("n,d,loss,u\n1,9,3,5\n1,9,3,50\n", Columns("n", "d", "loss", "u"))
    assert observed.points.unique.tolist() == [5, 9]


def test_rows_of_one_name_are_lengths_of_one_run_and_those_without_are_runs_of_their_own(read):
    text = "n,d,loss,id\n1,2,3,a\n1,4,2,a\n1,2,3,b\n1,4,2,\n1,4,2,\n"
    assert read(text, Columns("n", "d", "loss", run="id")).points.run.tolist() == [0, 0, 1, 2, 3]
    assert read(text).points.run.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("\ufeffn,d,loss\r\n1,2,3\r\n", "a.csv"),
        ('"n","d","loss"\n"1", "2","3"\n', "a.csv"),
        ("n;d;loss\n1;2;3\n", "a.csv"),
        ("n\td\tloss\n1\t2\t3\n", "a.tsv"),
        ("n\td\tloss\n1\t2\t3\n", "a.csv"),
        (" n , d , loss \n 1 , 2 , 3 \n\n , , \n", "a.csv"),
    ],
)
def test_marks_quotes_line_ends_and_separators_of_other_programs_are_known(read, text, name):
    points = read(text, name=name).points
    assert (points.n[0], points.tokens[0], points.loss[0], len(points)) == (1, 2, 3, 1)


def test_rows_that_no_law_can_have_are_rejected_and_listed(read):
    observed = read("n,d,loss\n1,2,nan\n1,,3\n0,1,1\n-1,2,inf\n1e-300,2,1e40\n1,2,3\n")
    assert observed.labels == ["line 7"]
    assert [(one.label, one.reason) for one in observed.rejected.first] == [
        ("line 2", "no number above 0 (1e-39 to 1e+39): loss=nan"),
        ("line 3", "no number above 0 (1e-39 to 1e+39): d="),
        ("line 4", "no number above 0 (1e-39 to 1e+39): n=0"),
        ("line 5", "no number above 0 (1e-39 to 1e+39): n=-1, loss=inf"),
        ("line 6", "no number above 0 (1e-39 to 1e+39): n=1e-300, loss=1e40"),
    ]


def test_of_many_rejected_rows_the_first_are_listed_and_all_are_counted(read):
    some, much = LISTED + 20, "9" * 5000
    observed = read(
        "n,d,loss,lr\n" + "1,2,nan,1\n" * some + f"1,2,{much},1\n1,2,3,1\n",
        Columns("n", "d", "loss", lr="lr"),
    )
    assert [one.label for one in observed.rejected.first] == [
        f"line {2 + number}" for number in range(LISTED)
    ]
    assert len(observed.rejected) == some + 1
    [line] = left_out(observed.rejected)
    assert line == (
        f"left out, no number above 0 (1e-39 to 1e+39) ({some + 1}): line 2, line 3, line 4 "
        f"and {some - 2} more"
    )
    [wrong] = read(f"n,d,loss\n1,2,{much}\n1,2,3\n").rejected.first
    assert len(wrong.reason) < 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("n,d,loss\n1,2,three\n", "line 2, column loss: 'three' is no number"),
        ("n,d,loss\n1,2,3\n1_0,2,3\n", "line 3, column n: '1_0' is no number"),
        ("n,d,loss\n1,2\n", "line 2 has 2 cells, and the header 3"),
        ("n,d,loss\n1,2,3,4\n", "line 2 has 4 cells, and the header 3"),
        ("n,d,los\n1,2,3\n", "--loss: loss is not known. Fix: did you mean los?"),
        ("n,n,d,loss\n1,1,2,3\n", "--n: 2 columns are called n"),
        (b"n,d,loss\n1,2,\xff\n", "line 2 is no UTF-8 text"),
        (b"n,d,loss\n1,2,3\0\n", "line 2 is no UTF-8 text"),
        ("n,d,loss\n1,2,3\n".encode("utf-16-le"), "line 1 is no UTF-8 text"),
        (",".join(["n", "d", *map(str, range(99))]), "35, 36, 37 and 61 more"),
        ('n,d,loss\n1,2,"3\n', "line 2 is no CSV: unexpected end of data"),
    ],
)
def test_what_is_no_table_is_told_in_a_line_with_its_place(read, text, said):
    assert said in only(refusal(read, text).splitlines())


def test_what_cannot_be_read_is_told_in_a_line(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path, tmp_path / "none.csv", tmp_path / "pipe", tmp_path / "loop"):
        assert str(path) in only(refusal(read_table, path, PLAIN).splitlines())


def test_a_link_to_a_table_is_followed(tmp_path):
    (tmp_path / "runs.csv").write_text("n,d,loss\n1,2,3\n")
    (tmp_path / "link.csv").symlink_to("runs.csv")
    assert len(read_table(tmp_path / "link.csv", PLAIN).points) == 1


def test_a_table_larger_than_a_law_is_fitted_to_is_refused(read, monkeypatch):
    monkeypatch.setattr(table, "MOST_ROWS", 2)
    assert "more than 2 rows" in refusal(read, "n,d,loss\n" + "1,2,3\n" * 3)
    monkeypatch.setattr(table, "MOST_BYTES", 10)
    assert "larger than 10 bytes" in refusal(read, "n,d,loss\n" + "1,2,3\n" * 3)


@settings(max_examples=60, deadline=None)
@given(body=st.text(alphabet='1.5e-,;\t"\n\r naiféx', max_size=60))
def test_whatever_a_table_holds_it_is_points_or_one_line(tmp_path_factory, body):
    path = tmp_path_factory.mktemp("any") / "any.csv"
    path.write_bytes(b"n,d,loss\n" + body.encode())
    try:
        observed = read_table(path, PLAIN)
    except DataError as error:
        assert len(error.problems) == 1
    else:
        assert (observed.points.loss > 0).all()
        assert len(observed.labels) == len(observed.points)


def test_numbers_as_far_apart_as_may_be_are_fitted_without_a_warning(read, recwarn):
    ends = ("1e-39", "2.5", "1e39")
    rows = [f"{n},{d},{loss}" for n in ends for d in ends for loss in ends]
    points = read("n,d,loss\n" + "\n".join(rows) + "\n").points
    [judged] = judge_laws([LAWS["chinchilla"]], points, draws=20)
    assert judged.r2 <= 1
    assert isoflop(points)
    assert not recwarn.list
