"""The runs of a ladder in their order, and in words what each stage adds to the one before."""

from collections.abc import Iterator
from typing import Any

from gptexp.config import (
    AdamConfig,
    AdamWConfig,
    BigramConfig,
    Config,
    GPTConfig,
    MLPConfig,
    flat,
    is_hashed,
    to_dict,
)
from gptexp.text import plain, plural

MICRO = (1, 4, 16)  # layers, heads and width of the published microGPT

COUNTING = (
    "What follows each token, counted in all of the training text, and 1 added to each count. "
    "Nothing is learned by a gradient: the table is the model."
)

OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "muon": "Muon"}  # in words


def place(config: Config) -> tuple[int, ...]:
    """Where a run stands among the stages: what sees more, or learns better, comes later."""
    match config.model:
        case MLPConfig(context=context, n_embd=n_embd, n_hidden=n_hidden):
            return (1, context, n_embd, n_hidden, _is_adam(config))
        case GPTConfig(n_layer=n_layer, n_head=n_head, n_embd=n_embd):
            return (2, n_layer, n_embd, n_head, _is_adam(config))
    return (0,)  # bigrams


def is_published(config: Config) -> bool:
    """Whether a run of microGPT's architecture has the size and the optimizer of the program."""
    model = config.model
    sizes = isinstance(model, GPTConfig) and (model.n_layer, model.n_head, model.n_embd)
    return sizes == MICRO and isinstance(config.optim, AdamConfig)


def title(config: Config, is_micro: bool) -> str:
    """The name of a stage; `is_micro` says whether it has microGPT's architecture."""
    match config.model:
        case MLPConfig(context=context):
            return f"Perceptron, {plural(context, 'token')}"
        case GPTConfig(n_layer=n_layer, n_head=n_head):
            if is_micro and is_published(config):
                return "microGPT"
            learned = OPTIMIZERS.get(config.optim.name, config.optim.name)
            return f"{plural(n_layer, 'layer')}, {plural(n_head, 'head')}, {learned}"
    return "Bigram counts"


def adds(config: Config, before: Config | None) -> str:
    """What a stage adds to the one before, in phrases."""
    model = config.model
    last = None if before is None else before.model
    phrases: list[str] = []
    match model:
        case BigramConfig() if not isinstance(last, BigramConfig):
            phrases.append(
                "What follows each token, counted in those documents alone that the later stages "
                f"learn from; {model.smoothing:g} is added to each count."
            )
        case MLPConfig():
            phrases += _perceptron(model, last)
        case GPTConfig():
            phrases += _transformer(config, model, before)
    if not phrases and before is not None:
        differing = ", ".join(_differing(config, before))
        phrases.append(f"The same but for {differing}." if differing else "The same once more.")
    return " ".join(phrases)


def _perceptron(model: MLPConfig, last: Any) -> Iterator[str]:
    if not isinstance(last, MLPConfig):
        yield (
            "Learned and not counted: an embedding, a hidden layer of ReLUs and a head, which "
            "gradients move."
        )
        if model.context == 1:
            yield "It sees one token, as counting does, so it can at best be as good."
    if model.context > (last.context if isinstance(last, MLPConfig) else 1):
        yield f"It sees the last {plural(model.context, 'token')} side by side."


def _transformer(config: Config, model: GPTConfig, before: Config | None) -> Iterator[str]:
    n_layer, n_head, was_adam = 1, 1, False
    if before is not None and isinstance(before.model, GPTConfig):
        n_layer, n_head = before.model.n_layer, before.model.n_head
        was_adam = _is_adam(before)
    else:
        yield (
            "Attention: each token looks back at all of its document, and takes from each as much "
            "as it asks for. RMSNorm and residual connections let that be trained."
        )
    if model.n_head > n_head:
        yield (
            f"{model.n_head} heads, each {model.head_width} numbers wide, look at different places "
            "at once; they cost no more parameters than one."
        )
    if model.n_layer > n_layer:
        yield f"{model.n_layer} layers: each reads what the ones before it wrote."
    if _is_adam(config) and not was_adam:
        yield "Adam gives each parameter a step of its own size, where SGD moves all alike."


def _differing(config: Config, before: Config) -> Iterator[str]:
    """The values that differ from the stage before, as one would type them."""
    values, last = flat(to_dict(config)), flat(to_dict(before))
    for key, value in values.items():
        if is_hashed(key) and value != last.get(key):
            yield f"{key}={plain(value)}"


def _is_adam(config: Config) -> bool:
    return isinstance(config.optim, AdamConfig | AdamWConfig)
