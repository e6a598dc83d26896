"""What is typed stays what it is, and each fix that is printed works when it is followed."""

import re
import shlex
from collections.abc import Callable

import pytest
from small_runs import problem_lines

from gptexp.config import Config, check, from_dict, from_overrides, grid, problems, to_dict
from gptexp.config.arguments import override_problems
from gptexp.errors import ConfigError

NUMBERS = ["2026_11_27", "1.10", "1e3", "true", "No", "nan", "-inf", "007", "0x1f", "+1", "NULL"]
ODD = [
    *("my file.txt", "  led.txt", "trailed.txt ", "it's.txt", 'a"b.txt', "'quoted' not.txt"),
    *("a,b.txt", "Smith, John.txt", "it's, John.txt", "[a].txt", "[a]", "{a:1}", "(a).txt"),
    *("f(1).txt", "copy(1)", "$HOME.txt", "a${b}.txt", "${b}", "${b", "100%.txt", "#1.txt"),
    *("@home.txt", "a=b.txt", "C:\\dir\\a.txt", "a\\,b.txt", "end\\", "a\\\\'b.txt", "né.txt"),
    *("日本.txt", ".hidden", "-dash.txt", "--two", "~tilde.txt", "~nobody/a.txt", "a;b|c&d.txt"),
    *("a\tb.txt", "*?.txt", "<a>!.txt", "`a`.txt", "1.10", "a:b.txt", "C:", "null.txt", "\\${b}"),
]


def followed(call: Callable[[list[str]], Config], word: str) -> Config:
    """What comes of a word, or of the fix that it is answered with."""
    try:
        return call([word])
    except ConfigError as error:
        [line] = problem_lines(error)
        fix = shlex.split(line.rpartition("Fix: ")[2].rpartition("for one: ")[2])
        return call(fix)


def with_text(words: list[str]) -> Config:
    return from_overrides(["data=text", *words])


@pytest.mark.parametrize("text", ODD)
def test_J1_J2_a_path_is_the_text_that_was_typed_or_the_fix_makes_it_that(text):
    config = followed(with_text, f"data.path={text}")
    assert config.data.path == text
    assert from_dict(to_dict(config)) == config, "and so it is when it is read again"


@pytest.mark.parametrize("word", ["recipe=choice(tiny, small)", "recipe='tiny',\"small\""])
def test_recipes_may_be_listed_as_other_choices_are(word):
    assert override_problems([word]) == []
    [unknown] = override_problems([word.replace("small", "smal")])
    assert "did you mean recipe=small?" in unknown.fix


@pytest.mark.parametrize("text", NUMBERS)
@pytest.mark.parametrize("key", ["name", "logger.project", "init_from", "data.path"])
def test_J1_a_text_that_looks_like_a_number_stays_as_it_was_typed(key, text):
    if text == "NULL" and key in ("init_from", "data.path"):  # which may have none
        return
    config = followed(with_text if key == "data.path" else from_overrides, f"{key}={text}")
    section, _, leaf = key.rpartition(".")
    assert getattr(getattr(config, section) if section else config, leaf) == text


@pytest.mark.parametrize(
    ("given", "tags"),
    [
        ("[1.10,2026_11_27,true]", ["1.10", "2026_11_27", "true"]),
        ("[a b, 'c, d',\"1\"]", ["a b", "c, d", "1"]),
        ("[null,it's]", ["null", "it's"]),
        ("[]", []),
        ("a,1e3", ["a", "1e3"]),
        ("alone", ["alone"]),
    ],
)
def test_J1_J2_so_do_the_texts_of_a_list(given, tags):
    assert followed(from_overrides, f"logger.tags={given}").logger.tags == tags


def test_J1_what_is_no_text_is_read_as_before():
    config = from_overrides(["seed=1_000", "optim.lr=1e-3", "init_from=null", "model.bias=False"])
    assert (config.seed, config.optim.lr, config.init_from) == (1000, 1e-3, None)
    assert from_overrides(["name=s${seed}", "seed=3"]).name == "s3"


@pytest.mark.parametrize(
    ("word", "points"),
    [
        ("name=1.10,1.20,1e3", ["1.10", "1.20", "1e3"]),
        ("name=choice(1.10,true)", ["1.10", "true"]),
        ("name=choice('a,b',\"1.10\")", ["a,b", "1.10"]),
        ("name=str(1.10)", ["1.10"]),
        ("name=sort(b,a)", ["a", "b"]),
        ("name=a,'b'", ["a", "b"]),
        ("name=range(1,3)", ["1", "2"]),
    ],
)
def test_J1_the_points_of_a_grid_keep_their_texts(word, points):
    found = grid.of_command(["-m", word])
    assert [config.name for _, config in found] == points


def test_J1_so_do_those_that_no_grammar_reads():
    word = "data.path=it's.txt,~/my file.txt, 1.10"
    found = grid.of_command(["-m", "data=text", word])
    assert [config.data.path for _, config in found] == ["it's.txt", "~/my file.txt", "1.10"]


def refusals() -> list[tuple[str, str]]:
    """Words that are refused, each with a part of its line."""
    return [
        ("name=null", "null"),
        ("name=${nope}", "nope"),
        ("name=${name}", "Recursive"),
        ("seed=${seed}", "Recursive"),
        ("seed=${model}", "a whole section"),
        ("init_from=${oc.env:NO_SUCH}", "'NO_SUCH' not found"),
        ("init_from=${nobody:x}", "nobody"),
        ("rerun=${oc.decode:[}", "rerun"),
        ("trainer.max_steps=[a", "cannot be read"),
        ("seed=choice()", "cannot be read"),
        ("trainer.dtype={", "cannot be read"),
        ("seed={a:1}", "a whole section"),
        ("model.bias=", "bias"),
        ("trainer.threads=x", "threads"),
        ("logger.tags=null", "null"),
        ("logger.tags=mine", "tags: not a list, which stands in brackets"),
        ("name=shuffle(1.10)", "shuffle() would change"),
        ("model=[tiny,small]", "one choice"),
        ("model=1e3", "model=1e3: not among"),
        ("hydra/sweeper=grid", "hydra/sweeper=grid: not among"),
        ("hydra/job_logging=loud", "hydra/job_logging=loud: not among"),
        ("+name=mine", "is a key that there is"),
        ("~name", "cannot be left out"),
        ("~name=x", "cannot be left out"),
        ("--optim.lr=1e-3", "no dashes"),
        ("--seed", "no dashes"),
    ]


@pytest.mark.parametrize(("word", "part"), refusals())
def test_J2_the_fix_of_a_refusal_is_taken(word, part):
    with pytest.raises(ConfigError) as caught:
        from_overrides([word])
    [line] = problem_lines(caught.value)
    assert part in line
    assert len(line) < 260
    fix = line.rpartition("Fix: ")[2]
    for before in (
        "leave the dashes out: ",
        "list them: ",
        "without the +, ",
        "give a value, as in ",
    ):
        fix = fix.removeprefix(before)
    typed = re.sub(r", (?:a whole number|a number|for one)$| or false$", "", fix)
    if word != "--seed":  # which has no value
        config = from_overrides(shlex.split(typed))
        assert problems(config) == [] or word.startswith("trainer.max_steps")


@pytest.mark.parametrize(
    ("words", "part", "fix"),
    [
        (["seed=range(5,5)"], "range(5,5) holds no value", "seed=1,2"),
        (["model=glob(zz*)"], "glob(zz*) holds no value", "model=bigram,gpt2"),
        (["optim.lr=interval(1e-4,1e-3)"], "no intervals", "optim.lr=0.0001,0.001"),
    ],
)
def test_J3_a_sweep_without_points_is_refused(words, part, fix):
    with pytest.raises(ConfigError, match=re.escape(part)) as caught:
        grid.of_command(["-m", *words])
    assert problem_lines(caught.value)[0].endswith(f"list some, as in {fix}") or fix in str(
        caught.value
    )
    assert len(grid.of_command(["-m", fix])) == 2


def test_J3_a_point_that_refers_to_nothing_is_refused_with_its_own_fix():
    (_, first), (_, second) = grid.of_command(["-m", "init_from=${nope},a", "seed=1"])
    assert problem_lines(first) == [
        "init_from: refers to nope, which is not there. Fix: 'init_from=\"\\${nope}\"'"
    ]
    assert second.init_from == "a"
    named = grid.of_command(["-m", "name=s${seed}", "seed=1,2"])
    assert [config.name for _, config in named] == ["s1", "s2"]


def test_J3_a_sweep_over_nothing_is_the_one_run_it_would_be():
    [(overrides, config)] = grid.of_command(["-m"])
    assert (overrides, config) == ([], from_overrides([]))


def test_J3_a_point_that_is_given_twice_is_one_and_that_is_said(caplog):
    assert len(grid.of_command(["-m", "seed=1,1,2", "name=a,a"])) == 2
    assert "4 of 6 points repeat another one" in caplog.text


@pytest.mark.parametrize("word", ["", "=3", "seed", " ", "my.txt", "./my text", "+x@y=1", "sede=["])
def test_J3_what_is_no_override_is_one_line(word):
    with pytest.raises(ConfigError) as caught:
        from_overrides([word])
    assert len(problem_lines(caught.value)) == 1
    assert "\n" not in str(caught.value)


def test_J3_no_count_has_more_bits_than_a_tensor_can_count():
    with pytest.raises(ConfigError, match="trainer.eval_batch_size: .* is not below"):
        check(from_overrides([f"trainer.eval_batch_size={10**20}"]))


def test_J3_the_number_of_threads_is_bounded():
    with pytest.raises(ConfigError, match="trainer.threads: 100000 is more"):
        check(from_overrides(["trainer.threads=100000"]))


@pytest.mark.parametrize("key", ["tokenizer.vocab_size", "model.window"])
def test_the_value_in_a_fix_is_one_that_the_key_takes(key):
    """4 is no size of a vocabulary, and no list."""
    chosen = ["tokenizer=bpe"] if key.startswith("tokenizer") else []
    for wrong in ("null", "x", "1.5"):
        with pytest.raises(ConfigError) as caught:
            from_overrides([*chosen, f"{key}={wrong}"])
        fix = caught.value.problems[0].fix.partition(", ")[0]
        assert problems(from_overrides([*chosen, *shlex.split(fix)])) == []


@pytest.mark.parametrize(
    ("words", "choice"),
    [
        (["tokenizer.vocab_size=500"], "tokenizer=bpe"),
        (["optim.ns_steps=3"], "optim=muon"),
        (["schedule.decay_fraction=0.5"], "schedule=wsd"),
    ],
)
def test_a_key_of_another_choice_names_the_choice(words, choice):
    with pytest.raises(ConfigError) as caught:
        from_overrides(words)
    [problem] = caught.value.problems
    assert problem.what.startswith("no such key among ")
    assert problem.fix.startswith(f"leave it out, or {choice}")
    assert problems(from_overrides([choice, *words])) == []
