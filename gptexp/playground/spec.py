"""What a page's engine has to know of a model and its tokenizer; what it cannot run is refused."""

from typing import Any

from gptexp.config import BigramConfig, GPTConfig, MLPConfig, ModelConfig
from gptexp.errors import ConfigError, Problem
from gptexp.models.counts import total_parameters
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.bpe import BytePairTokenizer
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tokenizers.char import CharTokenizer
from gptexp.tokenizers.ids import TokenIds

MOST_PARAMETERS = 50_000_000  # more would be too slow to play with, and too large for a page


def check_runs_there(owner: object, cfg: ModelConfig, tokenizer: Tokenizer) -> None:
    """Raise ConfigError, about `owner`, for what the page cannot run."""
    known = {GPTConfig, MLPConfig, BigramConfig}
    if type(cfg) not in known:
        what = f"model.kind={cfg.kind} is own code, which a page cannot run"
        raise ConfigError(Problem(str(owner), what, "a run of a gpt, mlp or bigram"))
    if type(tokenizer) not in {CharTokenizer, ByteTokenizer, BytePairTokenizer, TokenIds}:
        what = "its tokenizer is own code, which a page cannot run"
        raise ConfigError(Problem(str(owner), what, "a run with tokenizer=char, byte or bpe"))
    if (size := total_parameters(cfg, tokenizer.vocab_size)) > MOST_PARAMETERS:
        what = f"{size:,} parameters, and a page has room for {MOST_PARAMETERS:,}"
        raise ConfigError(Problem(str(owner), what, "a smaller run"))


def model_spec(cfg: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """The sizes and switches by which engine.js runs a model."""
    common = {"kind": cfg.kind, "vocab_size": vocab_size, "block_size": cfg.block_size}
    match cfg:
        case GPTConfig():
            return common | _gpt(cfg)
        case MLPConfig():
            sizes = {"context": cfg.context, "n_embd": cfg.n_embd, "n_hidden": cfg.n_hidden}
            return common | sizes
        case BigramConfig():
            return common | {"smoothing": cfg.smoothing}
    raise TypeError(f"no engine for {type(cfg).__name__}")


def _gpt(cfg: GPTConfig) -> dict[str, Any]:
    return {
        "n_layer": cfg.n_layer,
        "n_head": cfg.n_head,
        "kv_heads": cfg.kv_heads,
        "head_width": cfg.head_width,
        "n_embd": cfg.n_embd,
        "hidden": cfg.hidden,
        "windows": [cfg.window_of(layer) or 0 for layer in range(cfg.n_layer)],
        "norm": cfg.norm.value,
        "norm_eps": cfg.norm_eps,
        "embd_norm": cfg.embd_norm,
        "final_norm": cfg.final_norm,
        "activation": cfg.activation.value,
        "gated": cfg.activation.gated,
        "position": cfg.position.value,
        "rope_base": cfg.rope_base,
        "qk_norm": cfg.qk_norm,
        "tie_head": cfg.tie_head,
    }
