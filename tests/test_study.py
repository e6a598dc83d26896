"""The studies: what is trained, what is kept of it, and the page that is made of lines alone."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from small_runs import SMALL

from benchmarks.study import (
    changes,
    flagship,
    lines,
    modernise,
    page,
    records,
    regularise,
    together,
    work,
)
from benchmarks.study.__main__ import main
from benchmarks.study.certify import best, wanted
from benchmarks.study.laws import points_of
from benchmarks.study.lines import Cliff, Line, Loss, Machine
from benchmarks.study.listing import listing, strangers
from benchmarks.study.points import Study, StudyPoint, study_of
from gptexp.errors import ConfigError, DamagedError


def line(hash_: str, stage: str = "flagship", loss: float = 2.0, **values: object) -> Line:
    """A point that is done."""
    config = {f"model.{k}": v for k, v in values.items() if k in ("n_embd", "dropout")}
    config |= {f"optim.{k}": v for k, v in values.items() if k in ("lr", "weight_decay")}
    config |= {f"data.{k}": v for k, v in values.items() if k in ("fraction", "sampling")}
    config["seed"] = values.get("seed", 0)
    height = float(values.get("height", 0.5))  # type: ignore[arg-type]
    unique = 1e6 * float(values.get("fraction", 1.0))  # type: ignore[arg-type]
    steps = range(9)
    return Line(
        taken="2026-11-28T00:00:00+00:00",
        stage=stage,
        label=hash_,
        state="done",
        overrides=list(values.get("overrides", [])),  # type: ignore[call-overload]
        hash=hash_,
        config=config,
        machine=Machine(code=str(values.get("code", "a" * 64))),
        params=int(values.get("params", 3000)),  # type: ignore[call-overload]
        unique=unique,
        tokens=8e6,
        best=Loss(4, 4e6, loss, loss / 0.693, loss - 0.1),
        final=Loss(8, 8e6, loss + height, 1.0, loss - 0.5),
        average=Loss(5, 5e6, loss - 0.02, None, None),
        cliff=Cliff("cliff", 5, height),
        curve=[(step, step * 1e6, loss + abs(step - 4) / 8 * height, loss) for step in steps],
        average_curve=[loss + abs(step - 4) / 10 for step in steps],
    )


@pytest.fixture
def small(text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words of a study of two short runs, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    words = ["sweeps=modernise", "+sweeps/change=gpt2", "optim.lr=1e-3", "seed=0,1"]
    return [*words, *SMALL, f"data.path={text_file}", "trainer.threads=1"]


@pytest.mark.slow
def test_a_point_is_trained_once_and_its_line_holds_what_it_came_to(small, tmp_path, capsys):
    file = tmp_path / "lines.jsonl"
    assert main([*small, "--json", str(file)]) == 0
    found = lines.read(file)
    assert [one.config.get("seed", 0) for one in found] == [0, 1]
    first = found[0]
    assert first.done and first.stage == "modernise" and len(first.machine.code) == 64
    assert first.params > first.params_non_embedding > 0 and first.flops > 0
    assert [row[0] for row in first.curve] == [0, 4, 8, 12]
    assert first.best.loss == min(row[2] for row in first.curve)
    assert 0 < first.tokens < first.unique and first.cpu_seconds > 0
    assert "+sweeps/change=gpt2" in first.overrides and first.config["model.n_embd"] == 16
    capsys.readouterr()
    assert main([*small, "--json", str(file)]) == 0
    assert "starts" not in (said := capsys.readouterr().out)
    assert f"2 of 2 points are over; their lines are in {file}" in said
    assert len(lines.read(file)) == 2
    told = listing(Study(small), lines.read(file))
    assert [row.split()[0] for row in told[1:3]] == ["done", "done"]
    assert "2 points: 2 done" in told[-1]


def test_a_kill_before_the_line_and_minutes_that_are_over_lose_no_point(
    small, tmp_path, monkeypatch
):
    file = tmp_path / "lines.jsonl"
    study = Study([*small, "seed=0"])
    assert work.train(study, file, minutes=1e-5) == 0  # over before the run is

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lines, "add", killed)
        assert work.train(study, file) == 130
    assert lines.read(file) == []
    assert work.train(study, file) == 0
    [found] = lines.read(file)
    assert found.done and found.cpu_seconds is None  # no one process trained it all


def test_a_point_that_diverges_or_is_refused_is_a_line_too(small, tmp_path):
    file = tmp_path / "lines.jsonl"
    words = [*small, "seed=0", "optim=sgd", "optim.lr=1e30", "trainer.grad_clip=0"]
    study = Study(words)
    assert work.train(study, file) != 0
    [found] = lines.read(file)
    assert found.state == "diverged" and "not both finite" in found.error and not found.done
    assert work.next_point(study, file, set()) is None


def test_a_torn_last_line_goes_and_a_damaged_one_is_named(tmp_path):
    file = tmp_path / "lines.jsonl"
    for name in ("a", "b"):
        lines.add(file, line(name))
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"taken": "2026')
    assert [one.hash for one in lines.read(file)] == ["a", "b"]
    lines.add(file, line("a", loss=1.5))
    assert [(one.hash, one.best.loss) for one in lines.read(file)] == [("a", 1.5), ("b", 2.0)]
    file.write_bytes(b'{"taken": 3}\n' + whole)
    with pytest.raises(DamagedError, match="line 1: damaged"):
        lines.read(file)


def test_lines_of_other_code_and_of_other_points_are_kept_and_told(small, tmp_path):
    known = [line("a"), line("b"), line("c", code="b" * 64)]
    notes = strangers(Study(small).points, known)
    assert notes[0].startswith("3 lines of other points")
    assert "2 lines by aaaaaaaa, 1 line by bbbbbbbb" in notes[1]


def test_only_a_study_is_taken():
    assert study_of(["sweeps=flagship", "seed=0"]) == "flagship"
    for words in ([], ["sweeps=lr"], ["sweeps=flagship", "sweeps=modernise"]):
        with pytest.raises(ConfigError, match="sweeps=modernise"):
            study_of(words)


@pytest.mark.slow
def test_the_flagship_waits_for_its_rates_and_takes_them_between_the_ends_in_logarithms(text_file):
    words = ["sweeps=flagship", "model.n_embd=8", "data=text", f"data.path={text_file}", "seed=0"]
    study = Study([*words, "optim.lr=1e-3,1e-2", "optim.weight_decay=0.01,1.0"])
    points = study.resolved([])
    assert [point.waits for point in points] == 2 * [False] + 20 * [True]
    study = Study([*words, "+sweeps/text=4k,63k,1004k"])
    certified = [
        line(
            point.hash,
            "flagship_rates",
            loss=2.0
            + abs(point.config.optim.lr - (1e-2 if point.config.data.fraction < 0.1 else 1e-3))
            + abs(point.config.optim.weight_decay - 0.1),
            lr=point.config.optim.lr,
            weight_decay=point.config.optim.weight_decay,
            fraction=point.config.data.fraction,
            n_embd=8,
        )
        for point in study.rates
    ]
    rates = {"optim.lr": 1e-2, "optim.weight_decay": 0.01}  # beside the best of the smallest text
    left = next(one for one in certified if one.config.items() >= rates.items())
    without = [one for one in certified if one is not left]
    assert all(point.waits for point in study.resolved(without)[-3:])
    *_, low, middle, high = study.resolved(certified)
    assert (low.config.optim.lr, high.config.optim.lr) == (1e-2, 1e-3)
    assert [point.marks["rates"] for point in (low, middle, high)] == [
        *("certified", "interpolated", "certified")
    ]
    assert middle.config.optim.lr == pytest.approx(1e-2 * 0.1**0.4979, rel=1e-2)
    assert middle.config.optim.weight_decay == 0.1
    assert low.hash in {one.hash for one in certified}  # whose line is that of both
    shared = page.asked_for(study.resolved(certified), certified)
    assert [one.stage for one in shared].count("flagship_rates") == len(study.rates)
    assert [one.label for one in shared if one.stage == "flagship"] == [low.label, high.label]
    found = best([one for one in certified if one.config["data.fraction"] == 1.0])
    assert found is not None and found.edges == ()


def test_a_grid_is_trained_towards_its_lowest_loss_until_the_best_has_no_untried_neighbour():
    rates = [(lr, decay) for lr in (1e-3, 3e-3, 1e-2, 3e-2) for decay in (0.01, 0.1, 1.0, 3.0)]
    cell = {pair: f"{pair[0]} {pair[1]}" for pair in rates}
    known: dict[str, Line] = {}

    def trained(pair: tuple[float, float]) -> Line:
        lr, decay = pair  # lowest at 1e-2 and 1.0
        loss = 2.0 + abs(math.log10(lr / 1e-2)) + 0.1 * abs(math.log10(decay))
        return line(cell[pair], loss=loss, lr=lr, weight_decay=decay)

    rounds = []
    while left := wanted(cell, known):
        rounds.append(left)
        known |= {cell[pair]: trained(pair) for pair in rates if cell[pair] in left}
    assert rounds[0] == {"0.003 0.1"}
    assert rounds[1] == {"0.001 0.1", "0.01 0.1", "0.003 0.01", "0.003 1.0"}
    found = best(list(known.values()))
    assert found is not None and (found.lr, found.decay, found.edges) == (1e-2, 1.0, ())
    assert len(known) < len(cell) and "0.03 0.01" not in known
    failed = {"0.003 0.1": msgspec.structs.replace(line("0.003 0.1"), state="diverged")}
    assert wanted(cell, failed) == rounds[1]  # around what diverged


def test_a_switch_gains_by_pairs_at_the_best_of_its_learning_rates():
    known = [
        line(
            f"{name}{lr}{seed}",
            "modernise",
            loss=2.0 - gain + 0.1 * seed + (lr != 3e-3),
            lr=lr,
            seed=seed,
            overrides=[f"+sweeps/change={name}"],
        )
        for name, gain in (("gpt2", 0.0), ("rope", 0.05))
        for lr in (1e-3, 3e-3, 1e-2)
        for seed in (0, 1, 2)
    ]
    found = modernise.section(known, 135)
    assert found.text[0] == "From the lines of 18 of 135 points, 18 done."
    assert "| rope | gpt2 | 0.003 | 2.0500 ± 0.2484 | -0.0500 ± 0.0000 | gains |" in found.text
    assert list(found.figures) == ["study_modernise.png"]


def test_a_switch_asks_for_a_higher_rate_at_the_edge_and_for_seeds_where_nothing_is_shown():
    grid = {
        (name, lr, seed): f"{name} {lr} {seed}"
        for name in ("gpt2", "rope", "rmsnorm")
        for lr in (1e-3, 3e-3, 1e-2, 3e-2)
        for seed in range(5)
    }
    best = {"gpt2": 1e-2, "rope": 3e-3, "rmsnorm": 3e-3}
    lowest = {"gpt2": 2.0, "rope": 1.5, "rmsnorm": 1.5}

    def trained(name: str, lr: float, seed: int) -> Line:
        noise = 0.01 * seed * (-1) ** (seed + (name == "rope"))
        loss = lowest[name] + abs(math.log10(lr / best[name])) + noise
        overrides = [f"+sweeps/change={name}"]
        one = grid[name, lr, seed]
        return line(one, "modernise", loss=loss, lr=lr, seed=seed, overrides=overrides)

    known: dict[str, Line] = {}
    rounds = []
    while left := changes.wanted(grid, known) - known.keys():
        rounds.append(left)
        known |= {one: trained(*key) for key, one in grid.items() if one in left}
    assert len(rounds[0]) == 3 * 3 * 3 and not any("0.03" in one for one in rounds[0])
    assert rounds[1:] == [
        {f"gpt2 0.03 {seed}" for seed in (0, 1, 2)}  # the edge; rope gains, so gpt2 has its seeds
        | {f"{name} 0.003 {seed}" for name in ("rope", "rmsnorm") for seed in (3, 4)}
    ]
    mine = [one for one in known.values() if changes.name_of(one.overrides) == "gpt2"]
    assert (found := changes.change("gpt2", mine)).lr == 1e-2 and not found.edge


def test_a_switch_that_was_taken_out_keeps_its_lines_and_its_row(tmp_path, monkeypatch):
    file, points = tmp_path / "lines.jsonl", []
    for name, gain in (("modern", 0.0), ("head_gate", 0.1), ("of_before", 0.0)):
        for seed in (0, 1):
            words = [f"+sweeps/change={name}", f"seed={seed}"]
            one = line(f"{name}{seed}", loss=2.0 - gain * seed, seed=seed, lr=1e-3, overrides=words)
            lines.add(file, one)
            points.append(StudyPoint("modernise", one.label, words, None, {}))
            points[-1].__dict__["identity"] = SimpleNamespace(hash=one.hash)  # without a config
    monkeypatch.setattr(page, "Study", lambda words: Study.__new__(Study))
    monkeypatch.setattr(Study, "resolved", lambda self, known: points[:2])
    found = page.section("modernise", file).text
    assert found[0] == "From the lines of all 4 points, 4 done."
    row = "| head_gate | modern | 0.001 (edge) | 1.9500 ± 0.6353 | -0.0500 ± 0.6353 |"
    assert f"{row} not shown; taken out |" in found
    assert found[-1] == "Note: 2 lines are of points that the study no longer has."
    assert not changes.wanted({}, {one.hash: one for one in lines.read(file)})


def test_the_effect_of_a_factor_is_that_between_runs_that_share_all_else():
    known = [
        line(
            f"{decay}{dropout}{seed}",
            "regularise",
            loss=2.0 + dropout + 0.1 * seed,
            weight_decay=decay,
            dropout=dropout,
            seed=seed,
            fraction=0.016,
            height=1.0 if decay == 0.01 else 0.3,
        )
        for decay in (0.01, 1.0)
        for dropout in (0.0, 0.1)
        for seed in (0, 1, 2)
    ]
    assert [regularise.percent(log) for log in (0.0, 2.3, 9.0)] == ["+0%", "+897%", "ten times"]
    rows = regularise.section(known, 228).text
    words = "| 16,000 | weight decay 1 against 0.01 | +0.0000 ± 0.0000 | -70% (-70% to -70%) |"
    assert words in rows
    assert any("dropout 0.1 against none | +0.1000 ± 0.0000 | +0% (+0% to +0%)" in r for r in rows)
    assert any("the average against the weights | -0.0200 ± 0.0000" in row for row in rows)


def test_the_overfitting_term_is_what_a_repeated_text_costs_beside_the_whole_one():
    def run(decay: float, seed: int, whole: bool, last: float, **more: object) -> Line:
        stage, fraction = ("regularise_whole", 1.0) if whole else ("regularise", 0.016)
        of = {"weight_decay": decay, "seed": seed, "fraction": fraction, **more}
        key = f"{decay}{seed}{fraction}{more}"
        return line(key, stage, loss=last, height=0.0, **of)

    known = [run(decay, seed, True, 1.5 + decay) for decay in (0.1, 1.0) for seed in (0, 1)]
    known += [run(0.1, seed, False, 2.6 + seed) for seed in (0, 1)]
    known += [run(1.0, seed, False, 2.5 + 0.3 + 0.3 * seed) for seed in (0, 1)]
    known += [run(1.0, 0, False, 9.0, dropout=0.1), run(1.0, 0, False, 9.0, sampling="epoch")]
    known += [run(1.0, 2, False, 9.0)]  # without a run on the whole text
    rows = regularise.section(known, 228).text
    assert "| 16,000 | weight decay 0.1 | 1.500 ± 6.353 |  |  |" in rows
    assert "| 16,000 | weight decay 1 | 0.450 ± 1.906 |  | -70% (-70% to -70%) |" in rows


def test_the_cells_and_the_laws_of_the_flagship_come_from_its_lines():
    known = [
        line(f"{params}{fraction}{seed}", params=params, fraction=fraction, seed=seed, lr=0.01)
        for params in (3000, 30_000)
        for fraction in (0.01, 0.1)
        for seed in (0, 1, 2)
    ]
    found = flagship.section(known, 195)
    cell = "| 3,000 | 10,000 | 0.01 | 0.01 | certified | 3 | 2.0000 ± 0.0000 | 500.0 ± 0.0 |"
    assert any(row.startswith(cell) for row in found.text)
    assert found.text[-1] == "Laws are fitted once most cells are there."
    points = points_of(known)
    assert len(points) == 4 * len(known)
    assert sorted({*points.tokens}) == [1e6, 2e6, 4e6, 8e6]


@pytest.mark.slow
def test_the_runs_of_the_records_are_judged_together_once(small, tmp_path, monkeypatch):
    words = ["sweeps=records", "+sweeps/trial=plain", *small[4:], "schedule.warmup_steps=1"]
    words += ["model.window=[0]", "model.mlp_width=null", "model.position=learned"]
    study, file, to = Study(words), tmp_path / "lines.jsonl", tmp_path / "together.json"
    together.judge_together(study, file, to)
    assert together.read_together(to) is None, "nothing is trained"
    assert work.train(study, file) == 0
    together.judge_together(study, file, to)
    found = together.read_together(to)
    assert [part.alone for part in found.parts[:3]] == [
        pytest.approx(one.best.loss, abs=1e-5) for one in lines.read(file)[:3]
    ]
    assert found.members == [point.hash for point in study.points[:3]] and len(found.parts) == 4
    monkeypatch.setattr(together, "ensemble", None)
    for known in (study, Study([*words, "seed=1"])):  # of which a part is no other whole
        together.judge_together(known, file, to)
    monkeypatch.setattr(records, "read_together", lambda: found)
    text = records.section(page.asked_for(study.points, lines.read(file)), 4).text
    assert "| together | alone | with those above |" in text
    last = found.parts[2]
    assert f"| {last.name} | {last.alone:.4f} | {last.together:.4f} |" in text


def test_the_page_is_made_of_the_lines_and_its_other_words_stay(tmp_path, small, monkeypatch):
    text = page.PAGE.read_text(encoding="utf-8")
    for study in page.STUDIES:
        text = page.replaced(text, study, ["| a table |"])
    assert len(re.findall(r"<!-- \w+ -->\n\| a table \|\n<!-- end -->", text)) == len(page.STUDIES)
    assert "## Predictions" in text
    with pytest.raises(DamagedError, match="has no place for modernise"):
        page.replaced("words", "modernise", [])


def test_a_line_is_read_as_it_was_written():
    one = line("a")
    assert msgspec.json.decode(msgspec.json.encode(one), type=Line) == one
