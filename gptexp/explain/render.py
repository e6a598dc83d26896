"""A trace put into words and tables, for those who want to see how a GPT works."""

from gptexp import plugins
from gptexp.config import Config
from gptexp.explain.forward import forward_stages
from gptexp.explain.layout import WIDTH, wrapped
from gptexp.explain.trace import Trace
from gptexp.explain.update import update_stages
from gptexp.models.build import model_class
from gptexp.models.counts import total_parameters

TITLE = 24  # tokens in the title, at most


def render(trace: Trace, config: Config, weights: str, lr_words: str) -> str:
    """All stages of a trace, in lines of at most WIDTH columns.

    `weights` says whose they are, `lr_words` where the update's learning rate comes from.
    """
    lines = _title(trace, config, weights)
    stages = [*forward_stages(trace, config), *update_stages(trace, config, lr_words)]
    for number, stage in enumerate(stages, start=1):
        head = f"{number}  {stage.title.upper()} "
        source = f" gptexp/{stage.source}"
        lines += ["", f"{head:-<{WIDTH - len(source)}}{source}", *stage.lines]
    return "\n".join(line.rstrip() for line in lines)


def _title(trace: Trace, config: Config, weights: str) -> list[str]:
    vocab_size = len(trace.vocabulary)
    parameters = total_parameters(config.model, vocab_size)
    tokens = [*trace.ids, trace.target_ids[-1]]
    text = "".join(trace.vocabulary[token] for token in tokens[:TITLE])
    shown = text if len(tokens) <= TITLE else f"{text}..."
    size = f"{model_class(config.model).describe(config.model)}; {parameters:,} parameters"
    inside = "" if plugins.own(config.model) is None else "; what it does inside is not shown"
    facts = {
        "model": f"{config.model.name}: {size}, {weights}{inside}",
        "data": f"{config.data.name}: {vocab_size} tokens in the vocabulary",
    }
    return [
        f"How a model reads {shown} and learns from it, stage by stage",
        *(line for key, fact in facts.items() for line in wrapped(fact, f"{key:7}", " " * 7)),
    ]
