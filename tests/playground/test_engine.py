"""The engine of a page against torch, over the same rounded weights, in a browser."""

import pytest
import torch
from playgrounds import READ, packed, scripts
from switches import COMBINATIONS, overrides, words

from gptexp.config import from_overrides
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
def test_a_browser_and_torch_agree_over_all_switches(browser, texts):
    given = {words(each): [*SIZES, *overrides(each)] for each in COMBINATIONS}
    given |= {each[0]: each for each in BASELINES}
    page = scripts(browser.new_page())
    for name, chosen in given.items():
        model = model_of(chosen)
        assert furthest(page, model, "float16", texts) < CLOSE, name
        assert furthest(page, model, "int8", texts[:9]) < CLOSE, name


@pytest.mark.slow
def test_texts_become_the_ids_that_they_are_in_python(browser):
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
    page = scripts(browser.new_page())
    for tokenizer in tokenizers:
        ids, back, unknown = page.evaluate(read, [tokenizer.to_dict(), TEXT])
        assert ids == tokenizer.encode(TEXT).tolist()
        assert back == TEXT
        assert unknown == (["Q"] if isinstance(tokenizer, CharTokenizer) else [])
