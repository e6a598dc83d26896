"""Pictures of an insight: maps of attention, and the distribution of the next token."""

import numpy as np
from matplotlib.figure import Figure

from gptexp.figures import png
from gptexp.insight import Insight

MOST_BARS = 24  # tokens in the picture of what follows
COLUMNS = 4  # heads side by side


def attention(insight: Insight, layer: int) -> Figure:
    """The maps of one layer, a panel for each head: row t attends to columns up to t."""
    maps = insight.attention[layer]
    heads, time = maps.shape[:2]
    columns = min(heads, COLUMNS)
    rows = -(-heads // columns)
    size = (2.4 * columns + 0.4, 2.7 * rows + 0.2)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    for head in range(heads):
        axes = figure.add_subplot(rows, columns, head + 1)
        axes.imshow(maps[head], vmin=0.0, vmax=1.0, cmap="Blues")
        axes.set_title(f"head {head + 1}", fontsize=8)
        axes.set_xticks(range(time), insight.tokens, fontsize=5, parse_math=False)
        left = head % columns == 0
        axes.set_yticks(range(time), insight.tokens if left else [], fontsize=5, parse_math=False)
        axes.tick_params(length=0, pad=1)
    return figure


def following(insight: Insight) -> Figure:
    """The likeliest next tokens, with a bar for each temperature."""
    likeliest = np.argsort(-insight.following[1.0], kind="stable")[:MOST_BARS]
    figure = Figure(figsize=(7.0, 2.6), dpi=100, layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(insight.following)
    for number, (temperature, probabilities) in enumerate(insight.following.items()):
        places = np.arange(len(likeliest)) + number * width
        axes.bar(places, probabilities[likeliest], width, label=f"temperature {temperature:g}")
    labels = [insight.vocabulary[token] for token in likeliest]
    axes.set_xticks(
        np.arange(len(likeliest)) + 0.4 - width / 2, labels, fontsize=8, parse_math=False
    )
    axes.set_ylabel("probability", fontsize=8)
    axes.set_title(f"what follows {''.join(insight.tokens)}", fontsize=8, parse_math=False)
    axes.legend(fontsize=7)
    return figure


def draw(insight: Insight) -> dict[str, bytes]:
    """All pictures of an insight as PNG files, by the name that dashboards show."""
    drawn = {"next_token": png(following(insight))}
    for layer in range(len(insight.attention)):
        drawn[f"attention/layer_{layer + 1}"] = png(attention(insight, layer))
    return drawn
