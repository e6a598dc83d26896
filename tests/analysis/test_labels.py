"""Labels lead with what differs, whatever is looked at together."""

from run_directories import CONFIG, write_run

from gptexp.analysis.labels import label_of_command, label_runs, words_of
from gptexp.analysis.records import collect
from gptexp.config import from_overrides, to_dict


def labels(*folders):
    runs, _ = collect(folders)
    return sorted(label_runs(runs).values())


def test_a_label_holds_what_differs_and_the_seed_last(tmp_path):
    for lr, layers, seed in ((1e-3, 2, 0), (3e-3, 2, 0), (3e-3, 4, 1)):
        write_run(tmp_path, seed, 2.0, optim__lr=lr, model__n_layer=layers)
    assert labels(tmp_path) == [
        "n_layer=2 lr=0.001 s0",
        "n_layer=2 lr=0.003 s0",
        "n_layer=4 lr=0.003 s1",
    ]


def test_one_seed_is_not_said_and_seeds_alone_are(tmp_path):
    for lr in (1e-3, 3e-3):
        write_run(tmp_path / "lr", 0, 2.0, optim__lr=lr)
    for seed in (0, 1):
        write_run(tmp_path / "seeds", seed, 2.0)
    assert labels(tmp_path / "lr") == ["lr=0.001", "lr=0.003"]
    assert labels(tmp_path / "seeds") == ["s0", "s1"]


def test_a_run_alone_goes_by_its_directory(tmp_path):
    path = write_run(tmp_path, 0, 2.0)
    assert labels(tmp_path) == [path.name]


def test_no_two_labels_are_alike(tmp_path):
    """One config under two names is told apart by the folders, in one folder by the hashes."""
    for name in ("first", "second"):
        for seed in (0, 1):
            write_run(tmp_path / name, seed, 2.0)
    assert labels(tmp_path) == ["s0 first", "s0 second", "s1 first", "s1 second"]
    once = write_run(tmp_path / "same", 0, 2.0, trainer__log_interval=1)
    again = write_run(tmp_path / "same", 0, 2.0, trainer__log_interval=2)
    assert labels(tmp_path / "same") == sorted(path.name for path in (once, again))


def test_values_stand_as_one_would_type_them():
    keys = ["optim.name", "data.name", "model.bias", "trainer.max_tokens", "optim.lr"]
    words = words_of(keys, ["sgd", "text", True, None, 1e-4])
    assert words == ["optim=sgd", "data=text", "bias=true", "max_tokens=null", "lr=0.0001"]
    assert words_of(["optim.a", "schedule.a"], [1, 2]) == ["optim.a=1", "schedule.a=2"]


def test_a_run_by_itself_goes_by_what_its_command_set():
    """In the command's order, the seed last; without what changes no result, or is no key."""
    words = ["seed=3", "name=mine", "optim.lr=1e-3", "data=text", "data.path=my.txt"]
    words += ["+model.n_layer=2", "logger=wandb", "experiment=microgpt", "trainer.log_interval=5"]
    config = {**CONFIG, "seed": 3, "model": {**CONFIG["model"], "n_layer": 2}}
    assert label_of_command(config, words) == "lr=0.001 data=text n_layer=2 s3"
    assert label_of_command(config, ["-m", "name=mine"]) == ""
    assert label_of_command(config, []) == ""


def test_a_choice_tells_runs_apart_before_what_follows_from_it(tmp_path):
    """As tokenizer=char, which has extend=false, and muon, whose momentum is no key of adamw."""
    char, muon = {"name": "char", "extend": False}, from_overrides(["optim=muon"])
    write_run(tmp_path, 0, 2.0, tokenizer={"name": "bpe", "vocab_size": 300})
    write_run(tmp_path, 0, 2.0, tokenizer=char, optim={**CONFIG["optim"], "ema": 0.9})
    write_run(tmp_path, 0, 2.0, tokenizer=char, optim=to_dict(muon)["optim"])
    assert labels(tmp_path) == [
        "tokenizer=bpe optim=adamw",
        "tokenizer=char optim=adamw",
        "tokenizer=char optim=muon",
    ]


def test_a_list_stands_as_it_is_typed_and_is_found_by_that(tmp_path, gptexp):
    for window in ([], [4], [4, 0]):
        write_run(tmp_path, 0, 2.0, model={**CONFIG["model"], "window": window})
    assert labels(tmp_path) == ["window=[4,0]", "window=[4]", "window=[]"]
    for words, rows in (("[]", 1), ("[4,0]", 1), ("[4],[4,0]", 2)):
        found = gptexp("table", str(tmp_path), "--where", f"window={words}", "--format", "csv")
        assert len(found.out.splitlines()) == 1 + rows
