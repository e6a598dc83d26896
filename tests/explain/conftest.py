"""Documents to be explained, and the walk of an untrained model over one."""

import pytest
import torch
from small_runs import tokenizer_of

from gptexp.explain.trace import trace_text
from gptexp.models.build import build_model
from gptexp.runtime.random import stream_seed

NAMES = ["emma", "olivia", "ava", "isabella", "sophia", "mia", "amelia", "evelyn", "abi", "harper"]


@pytest.fixture
def names(tmp_path) -> list[str]:
    """Overrides for documents of our own."""
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES * 3))
    return [f"data.path={path}"]


@pytest.fixture
def walked(composed, names):
    """`walked("model.n_layer=2")`: config, model, ids of emma, and the walk of an untrained one."""

    def build(*overrides: str, text: str = "\nemma\n"):
        given = {"experiment=microgpt", "data=documents", *names, *overrides}
        if any(word in given for word in ("model=bigram", "model=mlp")):
            given.remove("experiment=microgpt")
            given.add("experiment=ladder_" + ("mlp" if "model=mlp" in given else "bigram"))
        config = composed(*sorted(given))
        tokenizer = tokenizer_of(config)
        seed = stream_seed(config.seed, "init")
        network = build_model(config.model, tokenizer.vocab_size, seed)
        ids = torch.from_numpy(tokenizer.encode(text))
        lr = config.optim.lr
        return config, network, ids, trace_text(network, tokenizer, config, ids, lr)

    return build
