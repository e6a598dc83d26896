"""A walk put into words and tables, for those who want to see how a GPT works."""

from gptexp.config import BigramConfig, Config, GPTConfig, MLPConfig, ModelConfig
from gptexp.explain.forward import forward_stages
from gptexp.explain.layout import WIDTH, plural, wrapped
from gptexp.explain.trace import Trace
from gptexp.explain.update import update_stages
from gptexp.models.counts import count_parameters

TITLE = 24  # tokens in the title, at most


def render(walk: Trace, config: Config, weights: str, lr_words: str) -> str:
    """All stages, in lines of at most WIDTH columns.

    `weights` says whose they are, `lr_words` where the update's learning rate comes from.
    """
    lines = _title(walk, config, weights)
    stages = [*forward_stages(walk, config), *update_stages(walk, config, lr_words)]
    for number, stage in enumerate(stages, start=1):
        head = f"{number}  {stage.title.upper()} "
        where = f" gptexp/{stage.where}"
        lines += ["", f"{head:-<{WIDTH - len(where)}}{where}", *stage.lines]
    return "\n".join(line.rstrip() for line in lines)


def _title(walk: Trace, config: Config, weights: str) -> list[str]:
    vocab_size = len(walk.vocabulary)
    parameters = _parameters(walk, config)
    tokens = [*walk.ids, walk.target_ids[-1]]
    text = "".join(walk.vocabulary[token] for token in tokens[:TITLE])
    shown = text if len(tokens) <= TITLE else f"{text}..."
    size = f"{_size(config.model)}; {parameters:,} parameters"
    facts = {
        "model": f"{config.model.name}: {size}, {weights}",
        "data": f"{config.data.name}: {vocab_size} tokens in the vocabulary",
    }
    return [
        f"How a model reads {shown} and learns from it, stage by stage",
        *(line for key, fact in facts.items() for line in wrapped(fact, f"{key:7}", " " * 7)),
    ]


def _parameters(walk: Trace, config: Config) -> int:
    return sum(count_parameters(config.model, len(walk.vocabulary)).values())


def _size(model: ModelConfig) -> str:
    match model:
        case GPTConfig():
            layers, heads = plural(model.n_layer, "layer"), plural(model.n_head, "head")
            return f"{layers}, {heads}, {model.n_embd} wide, context of {model.block_size}"
        case MLPConfig():
            context = plural(model.context, "token")
            return f"sees {context}, {model.n_embd} wide, {model.n_hidden} hidden units"
        case BigramConfig():
            return f"a table of counts, smoothed by {model.smoothing:g}"
    raise TypeError(f"no words for {type(model).__name__}")
