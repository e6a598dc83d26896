"""A run's config as a whole: its sections, their variants, and the rules across sections.

Every knob stands in its section's file (model.py, data.py, optim.py, trainer.py) with its type and
its one-line meaning; its value lives in `conf/`, never here. The classes are plain dataclasses
without torch, because tab completion and `--cfg` import them. A field without a default must be
given by a YAML file. A field added after a release gets a default that means the old behaviour, so
that old run directories and checkpoints keep their identity.
"""

import dataclasses
import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gptexp import plugins
from gptexp.config.data import (
    TOKENIZERS,
    ByteTokenizerConfig,
    CharTokenizerConfig,
    DataConfig,
    GPT2TokenizerConfig,
    StoredTokenizerConfig,
    TokenizerConfig,
)
from gptexp.config.model import MODELS, BigramConfig, GPTConfig, ModelConfig
from gptexp.config.optim import (
    OPTIMIZERS,
    SCHEDULES,
    AdamWConfig,
    ConstantConfig,
    CountConfig,
    OptimConfig,
    Scaling,
    ScheduleConfig,
    SGDConfig,
    note_long_warmup,
)
from gptexp.config.trainer import Dtype, LoggerConfig, TrainerConfig
from gptexp.errors import ConfigError, Problem
from gptexp.text import shortened


def _with_own(section: str, ours: Mapping[str, type]) -> Mapping[str, type]:
    """Our variants of a section, then those that modules have registered by now."""
    views: Any = (plugins.Variants(section), ours)  # ChainMap wants what can be written to
    return ChainMap(*views)


@dataclass(kw_only=True, slots=True)
class Config:
    """One run."""

    name: str  # folder under outputs/ that groups runs
    seed: int  # root of every random stream
    rerun: bool  # move a run of the same name aside and train anew
    init_from: str | None  # run directory or checkpoint whose weights to start from, or null
    model: ModelConfig
    data: DataConfig
    tokenizer: TokenizerConfig
    optim: OptimConfig
    schedule: ScheduleConfig
    trainer: TrainerConfig
    logger: LoggerConfig
    plugins: list[str] = field(default_factory=list)  # modules of own code, imported for this run
    branch_from: str | None = None  # run, or its checkpoint, to go on from in another way, or null

    def trunk_steps(self, max_steps: int) -> int:
        """How many updates of a run of `max_steps` a longer one begins with, bit for bit."""
        of_optim = max_steps - self.optim.averaged_steps(max_steps)
        return min(self.schedule.trunk_steps(max_steps), of_optim)


OWN_SECTIONS = ("model", "tokenizer", "optim")  # which may have variants of modules too
VARIANTS: dict[str, Mapping[str, type]] = {
    "model": _with_own("model", MODELS),
    "tokenizer": _with_own("tokenizer", TOKENIZERS),
    "optim": _with_own("optim", OPTIMIZERS),
    "schedule": SCHEDULES,
}
SINGLE: dict[str, type] = {
    "data": DataConfig,
    "trainer": TrainerConfig,
    "logger": LoggerConfig,
}
SECTIONS = ("model", "data", "tokenizer", "optim", "schedule", "trainer", "logger")
HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs: bytes of a name that are not UTF-8
NAME_MAX = 80  # each of three labels and a hash share one file name of at most 255 bytes


def variant(group: str, section: Mapping[str, Any]) -> Any:
    """Which of VARIANTS[group] the plain values of a section are of.

    The name of a model is the preset's, so its kind stands beside it; the first runs had one kind.
    """
    return section.get("kind", "gpt") if group == "model" else section["name"]


def fitted(config: Config) -> Config:
    """The config of a command with a warm-up no longer than its run; a shortened one is noted.

    With a budget the run's length is not known yet: see experiment/prepare.py.
    """
    steps, warmup_steps = config.trainer.max_steps, config.schedule.warmup_steps
    if config.trainer.budgets or not 1 <= steps < warmup_steps:
        return config
    note_long_warmup(warmup_steps, steps, f"trainer.max_steps={steps}")
    return replace(config, schedule=replace(config.schedule, warmup_steps=steps))


def check(config: Config) -> None:
    """Raises ConfigError with all that is wrong, each section by its own rules and all together."""
    ConfigError.raise_for(problems(config))


def problems(config: Config) -> list[Problem]:
    """Everything that is wrong with the values of a config; empty when all is well."""
    listed = [*_names(config), *_texts(config), *_modules(config.plugins)]
    for section in (getattr(config, name) for name in SECTIONS):
        with plugins.running(plugins.own(section)):
            listed += section.problems()
    across = (_warmup, _counting, _starting, _scaling, _checkpointing, _token_files, _masking)
    return [*listed, *(problem for rule in across for problem in rule(config))]


def _names(config: Config) -> Iterator[Problem]:
    if not 0 <= config.seed < 2**63:
        yield Problem("seed", f"{config.seed} is not in [0, 2^63)", "seed=0")
    labels = {"name": config.name, "model.name": config.model.name, "data.name": config.data.name}
    for key, value in labels.items():
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", value) or len(value) > NAME_MAX:
            fix = f"use at most {NAME_MAX} letters, digits, '_', '-', '+' or '.'"
            yield Problem(key, f"{shortened(value, 40)!r} cannot name a folder", fix)
    for group, variants in VARIANTS.items():
        section = getattr(config, group)
        key = "kind" if group == "model" else "name"
        if not isinstance(section, variants.get(value := getattr(section, key), ())):
            yield Problem(f"{group}.{key}", f"{value!r} is fixed by the choice", f"{group}=...")


def _modules(modules: list[str]) -> Iterator[Problem]:
    for name in modules:
        if not plugins.is_module(name):
            fix = "as in an import: my_metrics, or my_package.my_metrics"
            yield Problem("plugins", f"{shortened(name, 40)!r} cannot name a module", fix)
    for name in sorted({name for name in modules if modules.count(name) > 1}):
        yield Problem("plugins", f"{name} is there twice", "name it once")


def _texts(config: Config) -> Iterator[Problem]:
    """The texts without a UTF-8 form, as the name of a file may be: no file of a run holds them."""
    for name, section in dataclasses.asdict(config).items():
        values = section if isinstance(section, dict) else {"": section}
        for word, value in values.items():
            texts = value if isinstance(value, list | dict) else [value]  # of a table, its keys
            if HALVES.search(" ".join(map(str, texts))):
                key = f"{name}.{word}".rstrip(".")
                yield Problem(key, f"{value!r} is not UTF-8", "give it another name")


def _warmup(config: Config) -> Iterator[Problem]:
    """A warm-up longer than the run, in a config that is not `fitted`."""
    steps, warmup_steps = config.trainer.max_steps, config.schedule.warmup_steps
    if not config.trainer.budgets and warmup_steps > steps:
        what = f"{warmup_steps} is longer than the run, trainer.max_steps={steps}"
        yield Problem("schedule.warmup_steps", what, f"schedule.warmup_steps={max(steps, 0)}")


def _counting(config: Config) -> Iterator[Problem]:
    """Bigrams are counted, and nothing else is: see models/bigram.py."""
    is_bigram, counts = isinstance(config.model, BigramConfig), _counts(config)
    if is_bigram and not counts:
        what = f"bigram is counted, which optim={config.optim.name} does not"
        yield Problem("model.kind", what, "optim=count, or experiment=ladder_bigram")
    if isinstance(config.optim, CountConfig) and not is_bigram:
        what = f"count is for model=bigram alone, and this is {config.model.name}"
        yield Problem("optim.name", what, "optim=adamw")
    elif isinstance(config.optim, CountConfig) and config.trainer.grad_clip != 0:
        what = f"{config.trainer.grad_clip}, and counts are not clipped"
        yield Problem("trainer.grad_clip", what, "trainer.grad_clip=0")
    if is_bigram and config.trainer.dtype is Dtype.float16:
        what = "float16 scales a loss for its gradients, and bigrams are counted without"
        yield Problem("trainer.dtype", what, "trainer.dtype=float32")


def _starting(config: Config) -> Iterator[Problem]:
    """Two runs to start from, or a vocabulary that is to grow without one to grow from."""
    if config.init_from is not None and config.branch_from is not None:
        what = "branch_from is given too, which brings weights and all else along"
        yield Problem("init_from", what, "keep one of the two")
    tokenizer = config.tokenizer
    if isinstance(tokenizer, CharTokenizerConfig) and tokenizer.extend and config.init_from is None:
        what = "there is no init_from whose vocabulary to extend"
        yield Problem("tokenizer.extend", what, "init_from=RUN, or tokenizer.extend=false")


def _scaling(config: Config) -> Iterator[Problem]:
    """What learning rates that follow the width ask of the model: see optim/scaling.py."""
    if not isinstance(config.optim, AdamWConfig) or config.optim.scaling is Scaling.none:
        return
    model = config.model
    if not isinstance(model, GPTConfig):
        what = f"{config.optim.scaling.value} is for a GPT, and this is {model.name}"
        yield Problem("optim.scaling", what, "optim.scaling=none")
    elif model.tie_head and not (model.final_norm and model.norm_gain):
        what = f"{config.optim.scaling.value} takes an own head, or a final norm with a gain"
        yield Problem("optim.scaling", what, "model.tie_head=false")


def _checkpointing(config: Config) -> Iterator[Problem]:
    """Activation checkpointing of ours that have no blocks; own models may have some."""
    model = config.model
    has_none = not isinstance(model, GPTConfig) and plugins.own(model) is None
    if config.trainer.activation_checkpointing and has_none:
        what = f"true, but model={model.name} has no blocks to compute again"
        fix = "trainer.activation_checkpointing=false"
        yield Problem("trainer.activation_checkpointing", what, fix)


def _masking(config: Config) -> Iterator[Problem]:
    """Documents that do not see each other, in ours without attention; own models are tried."""
    model = config.model
    has_none = not isinstance(model, GPTConfig) and plugins.own(model) is None
    if config.data.mask_documents and has_none:
        what = f"true, but model={model.name} has no attention to mask"
        yield Problem("data.mask_documents", what, "data.mask_documents=false")


def _token_files(config: Config) -> Iterator[Problem]:
    """Token files bring ids along, which nothing is learned from; a text brings none."""
    tokenizer = config.tokenizer
    is_stored = isinstance(tokenizer, StoredTokenizerConfig)
    if config.data.tokens and not isinstance(
        tokenizer, StoredTokenizerConfig | ByteTokenizerConfig | GPT2TokenizerConfig
    ):
        what = f"{tokenizer.name} is made from a text, and data=tokens has none"
        yield Problem("tokenizer", what, "tokenizer=stored, or gpt2 or byte where they are that")
    elif is_stored and config.data.has_text and not config.data.tokens:
        what = f"stored is that of token files, and data={config.data.name} is a text"
        yield Problem("tokenizer", what, "tokenizer=char")


def _counts(config: Config) -> bool:
    """Whether each pair adds 1 to its count; before there was optim=count, plain SGD did."""
    by_sgd = (
        config.optim == SGDConfig(name="sgd", lr=1.0, weight_decay=0.0, momentum=0.0)
        and config.schedule == ConstantConfig(name="constant", warmup_steps=0)
        and config.trainer.grad_clip == 0
    )
    return by_sgd or isinstance(config.optim, CountConfig)
