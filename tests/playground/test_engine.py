"""The engine of a page against torch, over the same rounded weights, in a browser."""

import numpy as np
import pytest
import torch
from playgrounds import READ, chromium, packed, scripts
from switches import COMBINATIONS, overrides, words

from gptexp.config import from_overrides
from gptexp.inference.dials import Sampling, choose
from gptexp.models.build import build_model
from gptexp.tokenizers.bpe import BytePairTokenizer
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tokenizers.char import CharTokenizer

VOCAB = 13
CLOSE = 2e-3  # of logits
SIZES = ["model.n_layer=2", "model.n_head=4", "model.n_embd=16", "model.block_size=9"]
BASELINES = [
    ["model=mlp", "model.context=3", "model.n_embd=5", "model.n_hidden=7", "model.block_size=9"],
    ["model=bigram", "model.block_size=9"],
]
TEXT = "It's  the 3rd, of 12\n\n  \t naïve caf\u00e9s\u3000\u65e5\u672c \U0001f600\u0085 \ufeffx \n"


def model_of(words):
    """A model whose every number is random, and as large as in a trained one."""
    model = build_model(from_overrides(words).model, VOCAB, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        drawn = torch.rand(parameter.shape, generator=generator)
        parameter.data = (9 * drawn).round() if name == "counts" else 1.2 * drawn - 0.5
    return model


def furthest(page, model, kind, texts):
    """The largest difference of a logit between the browser and torch."""
    made, given = packed(model, kind)
    found = torch.tensor(page.evaluate(READ, [*given, texts.tolist()]))
    with torch.no_grad():
        return (made.model(texts) - found).abs().max().item()


@pytest.fixture(scope="module")
def texts():
    """A hundred of them, each as long as the context."""
    return torch.randint(VOCAB, (100, 9), generator=torch.Generator().manual_seed(2))


@pytest.mark.slow
def test_a_browser_and_torch_agree_over_all_switches(texts):
    given = {words(each): [*SIZES, *overrides(each)] for each in COMBINATIONS}
    given |= {each[0]: each for each in BASELINES}
    with chromium() as browser:
        page = scripts(browser.new_page())
        for name, chosen in given.items():
            model = model_of(chosen)
            assert furthest(page, model, "float16", texts) < CLOSE, name
            assert furthest(page, model, "int8", texts[:9]) < CLOSE, name


@pytest.mark.slow
def test_dials_leave_what_they_leave_in_python():
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(6, VOCAB, generator=generator)
    dials = [(0.0, None, 1.0), (0.5, None, 1.0), (1.3, 4, 1.0), (0.8, None, 0.6), (1.7, 5, 0.7)]
    with chromium() as browser:
        page = scripts(browser.new_page())
        for temperature, top_k, top_p in dials:
            asked = {"temperature": temperature, "topK": top_k or 0, "topP": top_p}
            found = page.evaluate(
                "([rows, dials]) => rows.map((row) => Array.from(distribution(row, dials)))",
                [rows.tolist(), asked],
            )
            sampling = Sampling(temperature, top_k, 0, top_p)
            wide = rows.repeat_interleave(4000, dim=0)
            ids = choose(wide, sampling, generator).view(len(rows), -1)
            drawn = torch.stack([torch.bincount(row, minlength=VOCAB) for row in ids]) / 4000
            assert np.abs(drawn.numpy() - np.array(found)).max() < 0.04, asked
            counts = (np.array(found) > 0).sum(axis=1)
            assert set(counts) == {1} if temperature == 0 else (counts <= (top_k or VOCAB)).all()


@pytest.mark.slow
def test_texts_become_the_ids_that_they_are_in_python():
    merges = "t h\nĠ th\nĠth e\nĠ 1\nĠ Ġ\na ï\nc a\nca f\nĊ Ċ\nÃ ©\nf Ã©\n' s"
    merges = merges.replace("a ï", "Ã ¯").replace("f Ã©", "caf Ã©")
    tokenizers = [
        CharTokenizer.of(TEXT),
        ByteTokenizer(),
        BytePairTokenizer("bpe", merges),
        BytePairTokenizer("gpt2", merges),
    ]
    read = (
        "([state, text]) => { const t = tokenizerOf(state); const ids = t.encode(text);"
        " return [ids, t.decode(ids), t.unknown(text + 'Q')]; }"
    )
    with chromium() as browser:
        page = scripts(browser.new_page())
        for tokenizer in tokenizers:
            ids, back, unknown = page.evaluate(read, [tokenizer.to_dict(), TEXT])
            assert ids == tokenizer.encode(TEXT).tolist()
            assert back == TEXT
            assert unknown == (["Q"] if isinstance(tokenizer, CharTokenizer) else [])
