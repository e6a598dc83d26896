"""A page in a browser, as quick as it can be: it opens, asks for nothing, and says what torch says.

These need playwright and a Chromium, and are skipped without.
"""

import random

import numpy as np
import pytest
import torch
from playgrounds import scripts

import gptexp as package
from gptexp.inference.dials import Sampling, penalised, probabilities

PROMPT = "whether to be\nor"
CLOSE = 2e-3  # of logits
ROUNDS = 200


@pytest.fixture
def opened(browser, gptexp, finished, tmp_path):
    """The page of a tiny run, from the disk, and all that it said or asked for."""
    assert gptexp("playground", finished, "--to", tmp_path / "p.html").code == 0
    heard = []
    page = browser.new_page()
    for event in ("console", "pageerror", "request"):
        page.on(event, lambda what: heard.append(getattr(what, "url", what)))
    page.goto((tmp_path / "p.html").as_uri())
    yield page, heard
    page.close()


@pytest.mark.slow
def test_a_page_from_the_disk_has_the_logits_of_python(opened, finished, tmp_path):
    page, heard = opened
    page.fill("#prompt", PROMPT)
    ids, found = page.evaluate("[runs[0].writer.ids, Array.from(runs[0].writer.logits)]")
    loaded = package.load(finished)
    for parameter in loaded.model.parameters():
        parameter.data = parameter.data.half().float()
    encoded = loaded.encode(PROMPT[-8:])
    assert ids[-8:] == encoded[0].tolist()
    with torch.no_grad():
        logits = loaded.model(encoded)[0, -1]
    assert (logits - torch.tensor(found)).abs().max() < CLOSE
    assert heard == [(tmp_path / "p.html").as_uri()]


def test_dials_leave_what_they_leave_in_python(browser):
    """All of them together, at random, over the same logits in float64."""
    rng, generator = random.Random(0), torch.Generator().manual_seed(0)
    cases = []
    for _ in range(ROUNDS):
        size = rng.choice([2, 5, 13, 60])
        cases.append(
            {
                "logits": (4 * torch.randn(size, generator=generator).double()).tolist(),
                "context": [rng.randrange(size) for _ in range(rng.randrange(9))],
                "spared": rng.choice([None, 0]),
                "penalty": rng.choice([1, rng.uniform(0.5, 2)]),
                "temperature": rng.choice([0, 1e-40, rng.uniform(0.01, 2)]),
                "topK": rng.choice([0, rng.randrange(1, 70)]),
                "topP": rng.choice([1, rng.uniform(0.01, 1)]),
                "minP": rng.choice([0, 1, rng.uniform(0, 0.5)]),
            }
        )
    page = scripts(browser.new_page())
    drawn = page.evaluate(
        """(cases) => cases.map((c) => {
          const left = penalised(c.logits, c.context, c.penalty, c.spared);
          return Array.from(distribution(left, c));
        })""",
        cases,
    )
    for case, found in zip(cases, drawn, strict=True):
        context = torch.tensor([case["context"]], dtype=torch.long)
        logits = torch.tensor([case["logits"]], dtype=torch.float64)
        logits = penalised(logits, context, case["penalty"], case["spared"])
        dials = [case["topP"], case["minP"]]
        sampling = Sampling(case["temperature"], case["topK"] or None, 0, *dials)
        expected = probabilities(logits, sampling)[0].numpy()
        assert np.abs(expected - np.array(found)).max() < 1e-9, case
