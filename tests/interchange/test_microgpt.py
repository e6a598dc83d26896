"""microGPT's JSON: exact round trips, and every malformed file named in lines that help."""

import copy
import json
import math
import random
import struct

import pytest
import torch
from small_runs import ONE_LINE, problem_lines

from gptexp import reference
from gptexp.errors import CheckpointError
from gptexp.interchange import microgpt
from gptexp.interchange.defects import shapes
from gptexp.interchange.microgpt import MicroGPT, filename, from_state, parse, render, to_state
from gptexp.models.build import build_model

WHERE = "model_e4_h2_l2_s10.json"
CHARS = ["b", "a", "é", "😀"]  # in no order


def stored():
    """A well-formed file as an object: 2 layers, 2 heads, 4 wide, block 3, 4 characters."""
    return {
        "config": {"n_embd": 4, "n_head": 2, "n_layer": 2, "block_size": 3, "init_std": 0.08},
        "training": {"num_steps": 10, "final_loss": 2.5},
        "chars": list(CHARS),
        "state_dict": reference.draw_weights(random.Random(0), 5, 2, 4, 3),
    }


@pytest.fixture
def network(composed):
    """The GPT that `stored` is of, in float64 and with weights of its own."""
    sizes = ["model.n_embd=4", "model.n_head=2", "model.n_layer=2", "model.block_size=3"]
    config = composed("experiment=microgpt", *sizes)
    return build_model(config.model, vocab_size=5, seed=0).double()


def bits(m: MicroGPT) -> dict[str, bytes]:
    """-0.0 is equal to 0.0, but does not have its bits."""
    return {
        name: struct.pack(f"<{w.numel()}d", *w.flatten().tolist()) for name, w in m.weights.items()
    }


def test_a_file_made_elsewhere_is_read():
    made = stored()
    m = parse(json.dumps(made, indent=1), WHERE)
    assert (m.n_embd, m.n_head, m.n_layer, m.block_size) == (4, 2, 2, 3)
    assert (m.num_steps, m.final_loss, m.chars) == (10, 2.5, "baé😀")
    assert {name: w.tolist() for name, w in m.weights.items()} == made["state_dict"]
    assert all(w.dtype is torch.float64 for w in m.weights.values())
    assert filename(m) == WHERE


def test_the_round_trips_are_exact_to_the_bit():
    made = stored()
    numbers = [0.1 + 0.2, -0.0, 5e-324, 3.4028234663852886e38]
    made["state_dict"]["wpe"][1] = numbers
    m = parse(json.dumps(made), WHERE)
    again = parse(render(m), WHERE)
    assert bits(again) == bits(m)
    assert render(again) == render(m)
    written = json.loads(render(m))
    assert written["state_dict"] == made["state_dict"]
    assert written["config"] == {k: v for k, v in made["config"].items() if k != "init_std"}
    assert (written["chars"], written["training"]) == (made["chars"], made["training"])
    assert list(written["state_dict"]) == list(shapes(4, 2, 3, 4))


@pytest.mark.parametrize("training", [{"num_steps": 0}, {"num_steps": 0, "final_loss": None}])
def test_the_final_loss_may_be_unknown(training):
    m = parse(json.dumps(stored() | {"training": training}), WHERE)
    assert m.final_loss is None
    assert render(parse(render(m), WHERE)) == render(m)


def test_integers_are_numbers_and_other_keys_are_ignored():
    made = stored() | {"comment": [[]]}
    made["state_dict"]["wte"][0] = [1, 0, -1, 2**60]
    m = parse(json.dumps(made), WHERE)
    assert m.weights["wte"][0].tolist() == [1.0, 0.0, -1.0, float(2**60)]


def test_the_weights_go_to_the_gpt_and_back(network):
    m = parse(json.dumps(stored()), WHERE)
    network.load_state_dict(to_state(m))  # strict: the names and shapes are the model's
    back = from_state(network.state_dict(), n_layer=2)
    assert list(back) == list(shapes(4, 2, 3, 4))
    assert all(torch.equal(back[name], weight) for name, weight in m.weights.items())
    network.token_table.weight.data.zero_()
    assert not torch.equal(back["wte"], torch.zeros(5, 4, dtype=torch.float64))  # a copy


def test_the_imported_gpt_says_what_the_scalar_engine_says(network):
    made = stored()
    network.load_state_dict(to_state(parse(json.dumps(made), WHERE)))
    logits = reference.Model(made["state_dict"], n_head=2).forward_uncached([4, 0, 3])
    expected = torch.tensor([[v.data for v in row] for row in logits], dtype=torch.float64)
    with torch.no_grad():
        ours = network(torch.tensor([[4, 0, 3]]))[0]
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


def test_a_state_that_microgpt_cannot_hold_is_refused(network):
    state = network.state_dict()
    state["blocks.0.mlp.up.bias"] = torch.zeros(16)
    del state["position_table.weight"]
    lines = refused(lambda: from_state(state, 2))
    assert [line.partition(":")[0] for line in lines] == [
        "position_table.weight",
        "blocks.0.mlp.up.bias",
    ]
    assert len(refused(lambda: from_state(network.state_dict(), 1))) == 4


def test_numbers_that_json_cannot_write_are_refused():
    m = parse(json.dumps(stored()), WHERE)
    m.weights["layer1.attn_wo"][0, 0] = math.inf
    assert refused(lambda: render(m))[0].startswith("layer1.attn_wo: has NaN or Infinity")
    m = parse(json.dumps(stored()), WHERE)
    bad = MicroGPT(**{**vars(m), "final_loss": math.nan})
    assert refused(lambda: render(bad))[0].startswith("final_loss: has NaN or Infinity")


def refused(act):
    """The problems that `act` raises, each in the one form of an error."""
    with pytest.raises(CheckpointError) as raised:
        act()
    for line in problem_lines(raised.value):
        assert ONE_LINE.fullmatch(line), line
        assert "\n" not in line
        assert len(line) < 300
        line.encode()  # no half of a surrogate pair reaches the screen
    return problem_lines(raised.value)


def problems(text):
    prefix = f"{WHERE}: "
    lines = refused(lambda: parse(text, WHERE))
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix) for line in lines]


NOT_OBJECTS = {
    "": "not JSON at line 1, column 1 (Expecting value)",
    '{"config": {},\n  oops}': "not JSON at line 2, column 3",
    "[1, 2]": "holds [1, 2], not an object",
    "null": "holds None, not an object",
    "[" * 200_000: "nested too deeply",
    '{"a": ' * 200_000: "nested too deeply",
    '{"config": ' + "9" * 5000 + "}": "holds a number that cannot be read",
    '{"a": 1, "a": 2}': "holds 'a' twice in one object",
    '{"state_dict": {"wte": [], "wpe": [], "wte": []}}': "holds 'wte' twice in one object",
}


@pytest.mark.parametrize("text", NOT_OBJECTS, ids=lambda text: text[:20])
def test_a_text_that_is_no_object_is_refused(text):
    [line] = problems(text)
    assert line.startswith(NOT_OBJECTS[text])


def at(*keys):
    """Put a value into the object, at the place of these keys; DROP takes the key out."""

    def put(made, value):
        for key in keys[:-1]:
            made = made[key]
        if value is DROP:
            del made[keys[-1]]
        else:
            made[keys[-1]] = value

    return put


DROP = object()
NAN, INF = float("nan"), float("inf")
WQ = ("state_dict", "layer0.attn_wq")
MALFORMED = [
    (at("config"), DROP, "config is missing"),
    (at("chars"), DROP, "chars is missing. Fix: add it, a list"),
    (at("training"), [], "training is [], not an object"),
    (at("chars"), "ab", "chars is 'ab', not a list"),
    (at("state_dict"), None, "state_dict is None, not an object"),
    (at("config", "n_embd"), DROP, "config.n_embd is missing"),
    (at("config", "n_embd"), True, "config.n_embd is True, not an integer from 1"),
    (at("config", "n_embd"), 4.0, "config.n_embd is 4.0, not an integer from 1"),
    (at("config", "n_head"), "2", "config.n_head is '2', not an integer from 1"),
    (at("config", "n_head"), 3, "config.n_head is 3, which does not divide 4, config.n_embd"),
    (at("config", "n_layer"), 0, "config.n_layer is 0, not an integer from 1"),
    (at("config", "n_layer"), 3, "config.n_layer is 3, but state_dict has 2 layers"),
    (at("config", "n_layer"), 2**50, f"config.n_layer is {2**50}, but state_dict has 2 layers"),
    (at("config", "block_size"), -3, "config.block_size is -3, not an integer from 1"),
    (at("config", "block_size"), 10**400, "config.block_size is 1000000"),
    (at("config", "block_size"), [[[[1]]]], "config.block_size is [[[...]]], not an integer"),
    (at("config", "block_size"), 4, "state_dict['wpe'] is 3x4, not 4x4"),
    (at("training", "num_steps"), DROP, "training.num_steps is missing"),
    (at("training", "num_steps"), -1, "training.num_steps is -1, not an integer from 0"),
    (at("training", "num_steps"), False, "training.num_steps is False, not an integer"),
    (at("training", "final_loss"), "2.5", "training.final_loss is '2.5', not a number"),
    (at("training", "final_loss"), True, "training.final_loss is True, not a number"),
    (at("training", "final_loss"), NAN, "training.final_loss is nan, not a finite number"),
    (at("chars", 3), "a", "chars[3] is 'a', the same as chars[1]"),
    (at("chars", 0), "ab", "chars[0] is 'ab', not a single character"),
    (at("chars", 0), "", "chars[0] is '', not a single character"),
    (at("chars", 0), 7, "chars[0] is 7, not a single character"),
    (at("chars", 0), ["b"], "chars[0] is ['b'], not a single character"),
    (at("chars", 2), "\n", "chars[2] is '\\n', a line break"),
    (at("chars", 2), "\r", "chars[2] is '\\r', a line break"),
    (at("chars", 2), "\ud83d", "chars[2] is '\\ud83d', half of a surrogate pair"),
    (at("state_dict", "wpe"), DROP, "state_dict['wpe'] is missing. Fix: add it, 3x4"),
    (at("state_dict", "layer1.mlp_fc2"), DROP, "state_dict['layer1.mlp_fc2'] is missing"),
    (at("state_dict", "bias"), [[1.0]], "state_dict has 'bias', which microGPT does not"),
    (at("state_dict", "\ud800\n"), [], "state_dict has '\\ud800\\n', which microGPT does not"),
    (at(*WQ), [], "state_dict['layer0.attn_wq'] is [], not a list of rows"),
    (at(*WQ), 1.0, "state_dict['layer0.attn_wq'] is 1.0, not a list of rows"),
    (at(*WQ), [[0.0] * 4] * 5, "state_dict['layer0.attn_wq'] is 5x4, not 4x4"),
    (at(*WQ, 1), [], "state_dict['layer0.attn_wq'][1] is [], not a row of numbers"),
    (at(*WQ, 1), 0.5, "state_dict['layer0.attn_wq'][1] is 0.5, not a row of numbers"),
    (at(*WQ, 2), [0.0] * 3, "state_dict['layer0.attn_wq'][2] has length 3, but [0] has length 4"),
    (at(*WQ, 3, 1), True, "state_dict['layer0.attn_wq'][3][1] is True, not a number"),
    (at(*WQ, 3, 1), None, "state_dict['layer0.attn_wq'][3][1] is None, not a number"),
    (at(*WQ, 3, 1), [0.0], "state_dict['layer0.attn_wq'][3][1] is [0.0], not a number"),
    (at(*WQ, 3, 1), NAN, "state_dict['layer0.attn_wq'][3][1] is nan, not a finite number"),
    (at(*WQ, 3, 1), 1e39, "state_dict['layer0.attn_wq'][3][1] is 1e+39, too large for a float32"),
    (at(*WQ, 3, 1), -INF, "state_dict['layer0.attn_wq'][3][1] is -inf, not a finite number"),
    (at(*WQ, 3, 1), 10**400, "state_dict['layer0.attn_wq'][3][1] is 10000000"),
]


@pytest.mark.parametrize(
    ("put", "value", "said"), MALFORMED, ids=[said for _, _, said in MALFORMED]
)
def test_what_is_wrong_is_named_with_its_place_and_its_value(put, value, said):
    made = copy.deepcopy(stored())
    put(made, value)
    [line] = problems(json.dumps(made))
    assert line.startswith(said)


def test_a_number_beyond_the_floats_is_not_read_as_infinity():
    text = json.dumps(stored()).replace("2.5", "1e999")
    assert problems(text)[0].startswith("training.final_loss is inf, not a finite number")


def test_an_empty_vocabulary_is_refused():
    assert problems(json.dumps(stored() | {"chars": []}))[0].startswith("chars is empty")


def test_all_problems_are_named_together():
    made = stored()
    made["config"] |= {"n_embd": 0, "block_size": None}
    made["chars"][1] = "b"
    del made["training"]["num_steps"]
    made["state_dict"]["wte"][0][0] = NAN
    keys = [line.partition(" is ")[0] for line in problems(json.dumps(made))]
    assert keys == [
        "config.n_embd",
        "config.block_size",
        "training.num_steps",
        "chars[1]",
        "state_dict['wte'][0][0]",
    ]
    assert [line.split(" is ")[0] for line in problems("{}")] == list(stored())


def test_a_file_with_a_thousand_problems_does_not_fill_the_screen():
    lines = problems(json.dumps(stored() | {"chars": [""] * 1000}))
    assert len(lines) == microgpt.SHOWN + 1
    assert lines[-1].startswith("has ")


def test_layers_are_counted_by_the_matrices_even_with_a_gap():
    made = stored()
    weights = made["state_dict"]
    for name in [name for name in weights if name.startswith("layer1.")]:
        weights[name.replace("layer1", "layer999999999")] = weights.pop(name)
    lines = problems(json.dumps(made))
    assert sum(line.startswith("state_dict['layer1.") for line in lines) == 6
    assert sum(line.startswith("state_dict has 'layer999999999.") for line in lines) == 6


def test_the_name_of_the_file_stays_one_line():
    assert refused(lambda: parse("", "a\nb.json"))[0].startswith("a\\nb.json: not JSON")
