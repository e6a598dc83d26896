"""Pictures of a probe: maps of attention, and the distribution of the next token.

Drawn by Pillow: matplotlib takes a second for the labels of one map, in which training would wait.
"""

import io
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gptexp.inference.probe import Probe

COLUMNS = 4  # heads side by side

CELL = 8  # pixels of a map's cell

LABEL, TITLE, GAP = 26, 16, 8  # pixels beside a map, above it, between two

DARK = (8, 48, 107)  # of a weight of 1; 0 is white

MOST_BARS = 24  # tokens in the picture of what follows

LONGEST = 10  # characters of a token's name

WIDTH, HEIGHT = 720, 260

LEFT, TOP, BOTTOM = 44, 26, 24  # pixels around the bars

COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728")  # of the temperatures, in their order


def attention(probe: Probe, layer: int) -> Image.Image:
    """A picture of one layer's maps, one for each head: row t attends to columns up to t."""
    maps = probe.attention[layer]
    heads, time = maps.shape[:2]
    columns, side = min(heads, COLUMNS), time * CELL
    rows = -(-heads // columns)
    tokens = [_cut(token) for token in probe.tokens]
    label = max([LABEL, *(int(_font(8).getlength(token)) + 6 for token in tokens)])
    size = (label + columns * (side + GAP), rows * (TITLE + side + TITLE))
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    for head in range(heads):
        row, column = divmod(head, columns)
        left, top = label + column * (side + GAP), TITLE + row * (TITLE + side + TITLE)
        image.paste(_shaded(maps[head]).resize((side, side), Image.Resampling.NEAREST), (left, top))
        pen.rectangle((left, top, left + side, top + side), outline="black")
        pen.text((left + side / 2, top - 3), f"head {head + 1}", "black", _font(11), anchor="ms")
        for place, token in enumerate(tokens):
            along = place * CELL + CELL / 2
            short = token if len(token) == 1 else "·"
            pen.text((left + along, top + side + 2), short, "black", _font(8), anchor="mt")
            if column == 0:
                pen.text((left - 3, top + along), token, "black", _font(8), anchor="rm")
    return image


def following(probe: Probe) -> Image.Image:
    """A picture of the likeliest next tokens, with a bar for each temperature."""
    likeliest = np.argsort(-probe.following[1.0], kind="stable")[:MOST_BARS]
    highest = max(float(p[likeliest].max()) for p in probe.following.values())
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    floor, group = HEIGHT - BOTTOM, (WIDTH - LEFT) / len(likeliest)
    bar = 0.8 * group / len(probe.following)
    for share in (0.0, 0.5, 1.0):  # of the highest bar
        y = floor - share * (floor - TOP)
        pen.line((LEFT, y, WIDTH, y), "#dddddd")
        pen.text((LEFT - 4, y), f"{share * highest:.2f}", "black", _font(10), anchor="rm")
    for number, (temperature, probabilities) in enumerate(probe.following.items()):
        color = COLORS[number % len(COLORS)]
        for place, token in enumerate(likeliest):
            left = LEFT + place * group + number * bar
            top = floor - float(probabilities[token]) / highest * (floor - TOP)
            pen.rectangle((left, top, left + bar - 1, floor), fill=color)
        label = f"temperature {temperature:g}"
        pen.text((WIDTH - 4, TOP + 2 + 14 * number), label, color, _font(11), anchor="rt")
    names = [_cut(probe.vocabulary[token]) for token in likeliest]
    crowded = any(_font(11).getlength(name) > group for name in names)  # then in two lines
    for place in range(len(names)):
        middle = LEFT + (place + 0.4) * group
        line = floor + 2 + (11 * (place % 2) if crowded else 2)
        pen.text((middle, line), names[place], "black", _font(9 if crowded else 11), anchor="mt")
    title = f"probability of what follows {''.join(probe.tokens)}"
    pen.text((LEFT, 4), title, "black", _font(11), anchor="lt")
    return image


def draw(probe: Probe) -> dict[str, bytes]:
    """All pictures of a probe as PNG files, by the name that dashboards show."""
    drawn = {"next_token": png(following(probe))}
    for layer in range(len(probe.attention)):
        drawn[f"attention/layer_{layer + 1}"] = png(attention(probe, layer))
    return drawn


def png(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def _cut(token: str) -> str:
    """A token that is as short as a picture has room for."""
    return token if len(token) <= LONGEST else f"{token[: LONGEST - 1]}…"


def _shaded(weights: np.ndarray) -> Image.Image:
    """An image of weights in [0, 1] [height, width], from white to DARK."""
    share = np.asarray(weights, dtype=np.float32)[..., None]
    return Image.fromarray((255 - share * (255 - np.array(DARK))).astype(np.uint8))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that matplotlib brings: it has the signs for white space."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)
