"""The scalar engine of a page against torch, in a browser: expressions, and a whole microGPT."""

import math
import random
import re

import pytest
import torch
from browsers import chromium
from playgrounds import packed, scripts

from gptexp.models.build import build_model

VARIABLES = "abcd"

# The value of each expression, and the gradient of each of its variables.
DIFFERENTIATE = """(given) => given.map(([text, numbers]) => {
  const { root, variables } = new Expression(text, new Map(Object.entries(numbers)));
  root.backward();
  return [root.data, Object.fromEntries([...variables].map(([name, { grad }]) => [name, grad]))];
})"""

COMPLAIN = """(texts) => texts.map((text) => {
  try {
    return new Expression(text, new Map()).root.data;
  } catch (error) {
    return error instanceof ExpressionError ? error.message : `${error}`;
  }
})"""

# Some updates on one document: the number of values, the loss, gradients and weights of each.
UPDATE = """([spec, tensors, data, ids, optimizer, updates]) => {
  const learner = new Learner({ spec, tensors }, unpack(tensors, data), optimizer);
  return Array.from({ length: updates }, () => {
    const { size, loss, gradient, after } = learner.update(ids);
    return { size, loss, gradient: [...gradient], after: [...after] };
  });
}"""


def drawn(rng, depth):
    """A random expression, as it is typed."""
    if depth == 0 or rng.random() < 0.1:
        return rng.choice([*VARIABLES, *VARIABLES, "2", "-0.5", "1.5e-1", ".7"])
    one, other = drawn(rng, depth - 1), drawn(rng, depth - 1)
    forms = [
        *(f"{one} + {other}", f"{one} - {other}", f"({one})*({other})", f"({one} + 3) / ({other})"),
        *(f"-({one})", f"-{one}**2", f"({one})**-2", f"exp(tanh({one}))", f"log(({one})**2 + 1)"),
        *(f"relu({one} - {other})", f"2 - ({one} - {other})", f"(({one})**2 + 1)**({other} / 9)"),
    ]
    return rng.choice(forms)


def by_torch(text, numbers):
    """Value and gradients, by Python's own grammar, which is the same."""
    tensors = {
        name: torch.tensor(number, dtype=torch.float64, requires_grad=True)
        for name, number in numbers.items()
    }
    functions = {name: getattr(torch, name) for name in ("tanh", "relu", "exp", "log")}
    typed = re.sub(r"(?<!\w)\d*\.?\d+(e-\d)?", r"number(\g<0>)", text)
    names = {"number": lambda data: torch.tensor(data, dtype=torch.float64)}
    value = eval(typed, functions | tensors | names)
    if value.requires_grad:
        value.backward()
    return value.item(), {n: 0.0 if t.grad is None else t.grad.item() for n, t in tensors.items()}


@pytest.mark.slow
def test_random_expressions_have_the_values_and_gradients_of_torch():
    rng, given, wanted = random.Random(0), [], []
    while len(given) < 500:
        text = drawn(rng, 3)
        numbers = {name: round(rng.uniform(-2, 2), 3) for name in VARIABLES}
        if len(text) > 120:
            continue
        value, grads = by_torch(text, numbers)
        if max(map(abs, [value, *grads.values()])) < 1e4:  # and none that is infinite
            given.append([text, numbers])
            wanted.append((value, grads))
    with chromium() as browser:
        found = scripts(browser.new_page(), "autograd", "expression").evaluate(DIFFERENTIATE, given)
    for (text, _), (value, grads), (ours, slopes) in zip(given, wanted, found, strict=True):
        assert ours == pytest.approx(value, rel=1e-6, abs=1e-6), text
        assert slopes == pytest.approx({n: grads[n] for n in slopes}, rel=1e-6, abs=1e-6), text


@pytest.mark.slow
def test_what_is_no_expression_is_told_in_a_line_and_nothing_runs():
    told = {
        "": "It ends too early: a name or a number is missing.",
        "a +": "It ends too early: a name or a number is missing.",
        "(a": "A “)” is missing.",
        "a b": "“b” was not expected there.",
        "a)": "“)” was not expected there.",
        "* a": "“*” was not expected there.",
        "1.2.3": "“.3” was not expected there.",
        "alert(1)": "alert is no function here; tanh, relu, exp, log are.",
        "constructor(1)": "constructor is no function here; tanh, relu, exp, log are.",
        "a ^ 2": "“^” has no meaning here; + - * / ** ( ) do.",
        "a.b": "“.” has no meaning here; + - * / ** ( ) do.",
        "😀": "“😀” has no meaning here; + - * / ** ( ) do.",
        "L = L + 1": "L is on both sides; give the result another name.",
        "L = a = 2": "“=” was not expected there.",
        "(" * 121: "At most 120 letters.",
        "(" * 120: "It ends too early: a name or a number is missing.",
        "constructor + exp": 2,
        "-2 ** 2 - -3": -1,
        "2 ** 3 ** 2": 512,
        "y = 8 / 2 / 2 - 1 - 1": 0,
    }
    with chromium() as browser:
        page = scripts(browser.new_page(), "autograd", "expression")
        assert page.evaluate(COMPLAIN, [*told]) == [*told.values()]


@pytest.mark.slow
@pytest.mark.parametrize("n_layer", [1, 2])
def test_one_update_has_the_loss_the_gradients_and_the_weights_of_torch(composed, n_layer):
    config = composed("experiment=microgpt", f"model.n_layer={n_layer}", "model.block_size=6")
    made, given = packed(build_model(config.model, 27, seed=4), "float16")
    optimizers = {
        "sgd": (torch.optim.SGD, {"lr": 0.3}),
        "adam": (torch.optim.Adam, {"lr": 0.01, "betas": (0.85, 0.99), "eps": 1e-8}),
    }
    with chromium() as browser:
        page = scripts(browser.new_page(), "autograd", "microgpt")
        for ids in ([26, 4, 12, 12, 0, 26], [26, *range(9), 26]):  # the second longer than 6
            for name, (kind, settings) in optimizers.items():
                words = {"optimizer": name, "lr": settings["lr"], "beta1": 0.85, "beta2": 0.99}
                found = page.evaluate(UPDATE, [*given, ids, words, 3])
                model = build_model(config.model, 27, seed=0).double().eval()
                model.load_state_dict(made.model.state_dict())
                optimizer = kind(model.parameters(), **settings)
                for update in found:
                    x, y = torch.tensor([ids[:-1][:6]]), torch.tensor(ids[1:][:6])
                    loss = torch.nn.functional.cross_entropy(model(x)[0], y)
                    optimizer.zero_grad()
                    loss.backward()
                    grads = torch.cat([p.grad.flatten() for p in model.parameters()])
                    optimizer.step()
                    after = torch.cat([p.detach().flatten() for p in model.parameters()])
                    assert update["loss"] == pytest.approx(loss.item(), abs=1e-9)
                    ours = [torch.tensor(update[key]) for key in ("gradient", "after")]
                    assert (ours[0].double() - grads).abs().max() < 1e-6
                    assert (ours[1].double() - after).abs().max() < 1e-5
                    assert update["size"] > 1000 * len(x[0]) and math.isfinite(update["loss"])


@pytest.mark.slow
def test_a_person_walks_the_ladder_the_graph_and_the_update(gptexp, trained, tmp_path):
    assert gptexp("playground", trained, "--to", tmp_path / "p.html").code == 0
    heard = []
    address = (tmp_path / "p.html").as_uri()
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        for event in ("console", "pageerror", "request"):
            page.on(event, lambda what: heard.append(getattr(what, "url", what)))
        page.goto(address)

        def text(name):
            return page.inner_text(f"#{name}")

        assert text("rung-title") == "microGPT"
        drawn = text("documents")
        page.locator("#rungs button").last.press("ArrowUp")
        assert text("rung-title") == "Counting 54 documents" and text("documents") != drawn
        page.fill("#read", "abXba")
        assert "X" in text("read-unknown")
        assert page.locator("#reading tbody tr").first.locator("td").count() == 4 + 1 + 1

        page.fill("#expression", "L = x*x + x")
        page.locator("#variables input").fill("3")
        assert page.locator(".node").count() == 3
        page.focus("#walk")
        page.keyboard.press("Home")
        assert "given" in text("walk-words")
        for words in (
            "x*x = 9",
            "x*x+x = 12",
            "own gradient is 1",
            "x*x gets 1",
            "in all 7",
        ):
            page.click("#walk-next")
            assert words in text("walk-words")
        assert page.locator("#walk-next").is_disabled()
        page.locator(".node").first.focus()
        page.keyboard.press("Enter")
        assert "x is 3, with a gradient of 7" in text("node-words")
        assert "in truth by 0.0701" in text("node-words")
        page.fill("#expression", "L = log(x - 4)")
        assert (
            text("expression-problem") == "log(x-4) is no finite number here: choose other values."
        )
        page.fill("#expression", "L = log(x")
        assert text("expression-problem") == "A “)” is missing."

        page.fill("#document", "abba")
        first = text("update-words")
        before, after = map(float, first.removeprefix("Loss on it: ").split()[0:3:2])
        assert after < before
        page.click("#again")
        assert text("update-words").startswith(f"Loss on it: {before:.4f} → {after:.4f} → ")
        page.click("#anew")
        assert text("update-words") == first
        page.locator("#matrices canvas").first.press("ArrowDown")
        assert text("cell").startswith("token table, row “b”, column 1: ")
        page.select_option("#optimizer", "sgd")
        page.fill("#rate", "0")
        assert text("still").startswith("3,648 of 3,648 ")
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        browser.close()
    assert heard == [address]
