"""The stages of the forward pass, from tokens to the end of the residual stream."""

from collections.abc import Iterator

from torch import Tensor

from gptexp.config import Activation, Config, GPTConfig, ModelConfig, Position
from gptexp.data.load import format_of
from gptexp.explain.layout import (
    POSITIONS,
    Stage,
    beside,
    code,
    ends,
    left_out,
    norm_name,
    padded,
    places,
    rms,
    table,
    width,
    wrapped,
)
from gptexp.explain.trace import Counts, Embeddings, Perceptron, Trace
from gptexp.models import gpt
from gptexp.models.activation import build_activation
from gptexp.models.attention import Attention
from gptexp.models.bigram import Bigram
from gptexp.models.build import model_class
from gptexp.models.mlp import MLP
from gptexp.text import plural
from gptexp.tokenizers.base import Tokenizer

HEADS = 4  # of a layer that are shown

NUMBERS = 3  # of a vector that are shown

SEEN = 5  # tokens of a perceptron's context that are shown


def forward_stages(trace: Trace, config: Config) -> Iterator[Stage]:
    """Yield the stages from tokens to what the model has before it says what comes next."""
    yield _tokens(trace, config)
    if trace.embeddings is not None:
        yield _embedded(trace, trace.embeddings, config.model)
    if trace.perceptron is not None:
        yield _hidden(trace, trace.perceptron)
    if trace.counts is not None:
        yield _counted(trace, trace.counts)
    if trace.layers:
        yield _attention(trace, config.model)
        yield _stream(trace, config.model)


def _tokens(trace: Trace, config: Config) -> Stage:
    size, total = config.model.block_size, len(trace.ids)
    words = (
        "The text is cut into tokens, and each becomes a number, its id. At each position the "
        "model sees the inputs up to there and has to guess the target, the token that follows."
    )
    if config.data.documents:
        words += (
            " ↵, the line break between documents, stands at both ends: as what the first token "
            "follows (BOS), and as the sign that the document is over."
        )
    inputs, targets = ([trace.vocabulary[i] for i in ids] for ids in (trace.ids, trace.target_ids))
    shown = min(total, POSITIONS)
    rows = [
        ["position", *map(str, range(shown))],
        ["input", *inputs[:shown]],
        ["its id", *map(str, trace.ids[:shown])],
        ["target", *targets[:shown]],
        ["its id", *map(str, trace.target_ids[:shown])],
    ]
    lines = [*wrapped(words), "", *table(rows)]
    if total == size:
        lines += wrapped(
            f"The context holds {size} tokens (model.block_size): a longer text is cut here."
        )
    if total > shown:
        lines += wrapped(
            f"Below, the first {shown} of {total} positions are shown; loss and update are of all."
        )
    reading = format_of(config.data)
    return Stage("tokens", code(Tokenizer.encode, type(reading)), lines)


def _embedded(trace: Trace, embeddings: Embeddings, model: ModelConfig) -> Stage:
    words = f"Each id picks a row of the token table: {embeddings.tokens.shape[-1]} numbers"
    columns = {"token row": embeddings.tokens}
    if embeddings.positions is not None:
        words += ". To it is added the row of the position table for its place"
        columns |= {"+ position row": embeddings.positions, "= sum": embeddings.total}
    if embeddings.normed is not None:
        assert isinstance(model, GPTConfig)
        words += f". {norm_name(model)} then scales each vector to an RMS of about 1"
        columns |= {f"after {norm_name(model)}": embeddings.normed}
    last = list(columns.values())[-1]
    words += (
        f". Shown are the first {NUMBERS} numbers, and the RMS (root mean square, the typical "
        f"size) of all {last.shape[-1]}."
    )
    decimals = 3 if len(columns) < 4 else 2  # four columns leave room for two
    rows = [["", *columns, "RMS"]]
    for place, label in places(trace):
        cells = [_vector(vectors[place], decimals) for vectors in columns.values()]
        rows.append([label, *cells, f"{rms(last[place]):.2f}"])
    source = code(model_class(model).forward)
    return Stage("embeddings", source, [*wrapped(words), "", *table(rows)])


def _hidden(trace: Trace, perceptron: Perceptron) -> Stage:
    units, context = perceptron.hidden.shape[-1], perceptron.context
    words = (
        f"The embeddings of the last {plural(context, 'token')} stand side by side, zeros where "
        f"there is none (·). A linear layer makes {units} hidden units of them, and ReLU sets "
        "the negative ones to 0, so a part of them is on."
    )
    rows = [["", "sees", "RMS of it", "units on", "RMS of them"]]
    for place, label in places(trace):
        seen = [
            trace.vocabulary[trace.ids[i]] if i >= 0 else "·"
            for i in range(place - min(context, SEEN) + 1, place + 1)
        ]
        if context > SEEN:
            seen.insert(0, "...")
        hidden = perceptron.hidden[place]
        rows.append(
            [
                label,
                " ".join(seen),
                f"{rms(perceptron.joined[place]):.2f}",
                f"{int((hidden > 0).sum())} of {units}",
                f"{rms(hidden):.3f}",
            ]
        )
    return Stage("hidden layer", code(MLP.forward), [*wrapped(words), "", *table(rows)])


def _counted(trace: Trace, counts: Counts) -> Stage:
    size, smoothing = len(trace.vocabulary), counts.smoothing
    words = (
        "The model is a table: how often was each token followed by each other one? Nothing is "
        f"learned but counts. The probability of a pair is (its count + {smoothing:g}) / "
        f"(count of the input + {size} x {smoothing:g})."
    )
    rows = [["", "input seen", "then the target", "probability"]]
    for place, label in places(trace):
        seen, followed = counts.seen[place].item(), counts.followed[place].item()
        chance = (followed + smoothing) / (seen + size * smoothing)
        pair = f"{trace.vocabulary[trace.target_ids[place]]}: {followed:,.0f}"
        rows.append([label, f"{seen:,.0f}", pair, f"{chance:.4f}"])
    return Stage("counts", code(Bigram), [*wrapped(words), "", *table(rows)])


def _attention(trace: Trace, model: ModelConfig) -> Stage:
    assert isinstance(model, GPTConfig)
    count = model.n_head
    words = (
        "Each position (a row) looks back at itself and the positions before it (columns), never "
        "ahead (·). A weight says how much it takes from there; each row adds up to 1. "
        + " ".join(_attention_switches(trace, model))
    )
    if count > HEADS:
        words += f" Shown are {HEADS} of {count} heads."
    lines = wrapped(words)
    for number, layer in ends(trace.layers):
        blocks = [
            _matrix(trace, layer.weights[head], layer.sees, f"layer {number}, head {head + 1}")
            for head in range(min(count, HEADS))
        ]
        lines += ["", *beside(blocks)]
    lines += left_out(trace)
    return Stage("attention", code(Attention), lines)


def _attention_switches(trace: Trace, model: GPTConfig) -> Iterator[str]:
    """Yield a sentence for each switch of the model's attention, which has one for its heads."""
    group = model.n_head // model.kv_heads
    if group == 1:
        yield "Every head has queries and keys of its own, so it may look elsewhere."
    elif model.kv_heads == 1:
        yield "Every head has queries of its own; keys and values are the same for all."
    else:
        yield f"Every head has queries of its own; {group} in a row share keys and values."
    windows = [(number, model.window_of(number - 1)) for number, _ in ends(trace.layers)]
    for number, window in windows:
        if window is not None:
            yield f"Layer {number} sees the last {plural(window, 'token')}, and none before (·)."
    if model.qk_norm:
        yield "Queries and keys are scaled to an RMS of 1 first."
    if model.position is Position.rope:
        yield "Queries and keys are turned by their position: weights know how far apart they are."


def _matrix(trace: Trace, weights: Tensor, sees: Tensor, title: str) -> list[str]:
    """Lines of one head's weights [time, time] where it `sees`, under a title; equally wide."""
    shown = places(trace)
    rows = [["", *(label for _, label in shown)]]
    for i, label in shown:
        cells = [_weight(weights[i, j].item()) if sees[i, j] else "·" for j, _ in shown]
        rows.append([label, *cells])
    lines = [f"   {title}", *table(rows, gap=1)]
    columns = max(map(width, lines))
    return [padded(line, columns) for line in lines]


def _stream(trace: Trace, model: ModelConfig) -> Stage:
    assert isinstance(model, GPTConfig)
    units = trace.layers[0].hidden.shape[-1]
    words = (
        "A vector runs through all layers, the residual stream. Attention adds to it what its "
        "heads gathered from other positions; then the MLP adds what it makes of each position "
        f"alone, through {units} hidden units {_nonlinearity(model)}. Shown "
        "is the RMS of the vectors; those of a sum do not simply add up."
    )
    if model.zero_init:
        words += " What both add begins at zero (model.zero_init)."
    lines = wrapped(words)
    for number, layer in ends(trace.layers):
        rows = [
            [f"layer {number}", "stream", "attention adds", "stream", "MLP adds", "stream", "on"]
        ]
        parts = (layer.before, layer.attention, layer.between, layer.mlp, layer.after)
        for place, label in places(trace):
            on = int(layer.on[place].sum())
            cells = [f"{rms(part[place]):.3f}" for part in parts]
            rows.append([label, *cells, f"{on} of {units}"])
        lines += ["", *table(rows)]
    return Stage("residual stream", code(gpt.Block, gpt.MLP), [*lines, *left_out(trace)])


def _nonlinearity(model: GPTConfig) -> str:
    """What becomes of the hidden units, in words."""
    kind = type(build_activation(model.activation)).__name__
    match model.activation:
        case Activation.swiglu | Activation.geglu:
            kind = {Activation.swiglu: "SiLU", Activation.geglu: "GELU"}[model.activation]
            return f"times their gates, which go through {kind} and are on where positive ('on')"
        case Activation.relu2:
            return "and a squared ReLU, which lets only the positive ones through ('on')"
    share = "only" if model.activation is Activation.relu else "mostly"
    return f"and {kind}, which lets {share} the positive ones through ('on')"


def _vector(values: Tensor, decimals: int) -> str:
    return " ".join(f"{value:z{decimals + 3}.{decimals}f}" for value in values[:NUMBERS].tolist())


def _weight(value: float) -> str:
    """A weight with two decimals, and without the 0 before them."""
    shown = f"{value:.2f}"
    return shown[1:] if shown.startswith("0") else shown[:3]
