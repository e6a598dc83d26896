"""What can be refused is refused here, before a run directory exists or is taken up."""

from dataclasses import dataclass, replace

from gptexp import plugins
from gptexp.config import (
    CharTokenizerConfig,
    Config,
    GPTConfig,
    MLPConfig,
    TrainerConfig,
    note_long_warmup,
)
from gptexp.data.corpus import Corpus
from gptexp.data.load import LoadedCorpus, characters_of, load_corpus, read_corpus, split_corpus
from gptexp.data.read import source
from gptexp.errors import CheckpointError, ConfigError, Problem
from gptexp.experiment import parallel
from gptexp.experiment.auto_compile import compiles
from gptexp.experiment.compatibility import check_init
from gptexp.experiment.identity import Identity, Start, named_init_from, vocabulary_digest
from gptexp.experiment.start import find_base
from gptexp.experiment.trial import try_own_code
from gptexp.files import at_home
from gptexp.inference.weights import read_checkpoint
from gptexp.models.counts import flops_per_token, training_memory
from gptexp.optim.decay import decay_problems
from gptexp.runs import checkpoint
from gptexp.runtime import memory
from gptexp.runtime.device import Runtime, device_problems, probe_hardware, resolve_runtime
from gptexp.runtime.distributed import ALONE, Ranks
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.build import tokenizer_from_dict
from gptexp.tokenizers.char import CharTokenizer, code_points, name_characters
from gptexp.training import budget

_LATEST: dict[str, LoadedCorpus] = {}  # the text read last: that of the next point, as a rule


@dataclass(frozen=True)
class Inputs:
    """The corpus, the machine and the weights that a config names, read and checked."""

    text: LoadedCorpus
    corpus: Corpus  # its splits on the device
    runtime: Runtime
    trainer: TrainerConfig  # the config's, with what its budget and compile=auto come to
    init: checkpoint.State | None = None  # the checkpoint behind init_from or branch_from
    ranks: Ranks = ALONE  # the processes that train it together

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer in which the corpus is read."""
        return self.text.tokenizer

    @property
    def steps_per_epoch(self) -> float:
        """Updates in one pass over the training split."""
        return self.corpus.rows_per_epoch("train") / self.corpus.rows


def prepare(config: Config, identity: Identity, ranks: Ranks = ALONE) -> Inputs:
    """Read the corpus, and check it, the machine and the ranks against the config.

    Raises ConfigError, DataError and CheckpointError.
    """
    ConfigError.raise_for(parallel.problems(config, ranks))
    hardware = probe_hardware()
    ConfigError.raise_for(device_problems(config.trainer, hardware))
    runtime = resolve_runtime(config.trainer, hardware)
    init = read_init(config)
    if init is not None:
        check_start(config, identity, init)
    text = latest_text(config, init, identity.data_sha256)
    check_memory(config, text.tokenizer.vocab_size, runtime)
    if config.init_from is not None and init is not None:
        check_init(config, init, text.tokenizer)
    try_own_code(config, text.tokenizer.vocab_size, runtime)
    corpus = text.corpus(config.trainer.rows, config.seed, runtime.device)
    trainer = budgeted(config, text.tokenizer.vocab_size, corpus)
    machine = (text.tokenizer.vocab_size, corpus, runtime)
    compile = not ranks.shards and compiles(config, identity, trainer, *machine)
    inputs = Inputs(text, corpus, runtime, replace(trainer, compile=compile), init, ranks)
    ConfigError.raise_for(decay_problems(config.optim, inputs.steps_per_epoch))
    return inputs


def check_start(config: Config, identity: Identity, init: checkpoint.State) -> None:
    """Raise CheckpointError where the run to start from is another than it was a moment ago."""
    key, weights = "init_from", checkpoint.digest(init["model"])
    if identity.base is not None:
        key, is_same = "branch_from", weights == identity.base.weights_sha256
    else:
        is_same = identity.start == Start(weights, vocabulary_digest(init["tokenizer"]))
    if not is_same:
        what = f"{getattr(config, key)} changed while the run was starting"
        raise CheckpointError(Problem(key, what, "start it again"))


def latest_text(config: Config, init: checkpoint.State | None, sha256: str) -> LoadedCorpus:
    """As load_text, which reads once what the next points of a sweep have in common."""
    # Own code may cut each text anew; of token files little is read, and that from the disk.
    if plugins.named("tokenizer", config.tokenizer.name) or config.data.tokens:
        return load_text(config, init, sha256)
    cut = (config.data, config.tokenizer, config.model.block_size)
    key = repr((sha256, *cut, init and init["tokenizer"]))
    if key not in _LATEST:
        _LATEST.clear()  # first, so that there are never two
        _LATEST[key] = load_text(config, init, sha256)
    return _LATEST[key]


def read_init(config: Config) -> checkpoint.State | None:
    """The checkpoint behind init_from or branch_from, if the config has one.

    Raises ConfigError, DamagedError and CheckpointError.
    """
    if config.branch_from is not None:
        base = find_base(config.branch_from)
        return checkpoint.read(base.file, base.entry)
    if config.init_from is None:
        return None
    with named_init_from():
        return read_checkpoint(at_home(config.init_from))


def load_text(
    config: Config, init: checkpoint.State | None, sha256: str | None = None
) -> LoadedCorpus:
    """The corpus of the config, in the vocabulary of `init` where that is of the same kind.

    The text may lack some of its characters; those that it has beyond them come behind, where the
    config extends the vocabulary. Raises DataError, and CheckpointError where it does not.
    """
    block_size = config.model.block_size
    if init is None or init["tokenizer"].get("name") != config.tokenizer.name:
        return load_corpus(config.data, config.tokenizer, block_size, sha256)
    text, tokenizer = read_corpus(config.data, sha256), tokenizer_from_dict(init["tokenizer"])
    if isinstance(config.tokenizer, CharTokenizerConfig):
        assert isinstance(text, str | dict) and isinstance(tokenizer, CharTokenizer)
        tokenizer = _with_characters_of(text, tokenizer, config)
    return split_corpus(config.data, text, tokenizer, block_size)


def _with_characters_of(
    text: str | dict[str, str], tokenizer: CharTokenizer, config: Config
) -> CharTokenizer:
    """The tokenizer, extended where the text needs it and the config says so, else refused."""
    extended = tokenizer.extended(characters_of(config.data, text))
    assert isinstance(config.tokenizer, CharTokenizerConfig)
    unknown = extended.characters.removeprefix(tokenizer.characters)
    if unknown and not config.tokenizer.extend:
        named = name_characters(code_points(unknown))
        what = f"{config.init_from} does not know {named} of {source(config.data)}"
        fix = "tokenizer.extend=true, which adds rows for them, or leave them out of the text"
        raise CheckpointError(Problem("init_from", what, fix))
    return extended


def budgeted(config: Config, vocab_size: int, corpus: Corpus) -> TrainerConfig:
    """The trainer's section with the max_steps that its budget comes to; raises ConfigError."""
    flops = flops_per_token(config.model, vocab_size)
    steps = budget.steps(config.trainer, corpus, flops)
    for key in config.trainer.budgets:
        if steps >= 2**63:
            what = f"{getattr(config.trainer, key)} is more steps than can be counted"
            raise ConfigError(Problem(f"trainer.{key}", what, "a smaller budget"))
        words = f"{steps} steps by trainer.{key}={getattr(config.trainer, key)}"
        if (warmup_steps := config.schedule.warmup_steps) > steps:
            note_long_warmup(warmup_steps, steps, words)
    return replace(config.trainer, max_steps=steps)


class TooLargeError(ConfigError):
    """What a config takes is more than the machine has; a smaller one of its kind would do."""


def check_memory(config: Config, vocab_size: int, runtime: Runtime) -> None:
    """Raises TooLargeError when the least that training takes is more than there is."""
    needed = _needed(config, vocab_size, runtime)
    available = memory.available_memory(runtime.device)
    if needed <= available:
        return
    what = (
        f"training it takes at least {needed / 1e9:,.1f} GB, and {runtime.device} has "
        f"{available / 1e9:,.1f} GB available"
    )
    fix = f"lower {_what_to_lower(config)}"
    if not config.trainer.activation_checkpointing and isinstance(config.model, GPTConfig):
        saving = replace(config.trainer, activation_checkpointing=True)
        if _needed(replace(config, trainer=saving), vocab_size, runtime) <= available:
            fix = f"trainer.activation_checkpointing=true, or {fix}"
    raise TooLargeError(Problem("model", what, fix))


def fits(config: Config, vocab_size: int, runtime: Runtime) -> bool:
    """Whether check_memory lets it pass."""
    try:
        check_memory(config, vocab_size, runtime)
    except TooLargeError:
        return False
    return True


def least_memory(config: Config, vocab_size: int, runtime: Runtime) -> int:
    """The least that training takes of the device beside its text, in bytes."""
    cfg, masked = config.trainer, config.data.mask_documents
    sizes, recomputes = (vocab_size, cfg.batch_size), cfg.activation_checkpointing
    copies = 2 + config.optim.moments + len(config.optim.averages)
    return training_memory(config.model, *sizes, runtime, recomputes, masked, copies)


def _needed(config: Config, vocab_size: int, runtime: Runtime) -> int:
    """The least that training takes with the batches of an update, in bytes."""
    # Of all sequences of an update, where they begin; of a text each token, and its place.
    row = 8 if config.data.is_listed else 16 * (config.model.block_size + 1)
    return least_memory(config, vocab_size, runtime) + config.trainer.rows * row


def _what_to_lower(config: Config) -> str:
    """The keys that memory grows with, where they are above their least."""
    keys = {"batch_size": config.trainer.batch_size, "grad_accum": config.trainer.grad_accum}
    named = [f"trainer.{key}, now {value}" for key, value in keys.items() if value > 1]
    if isinstance(config.model, GPTConfig | MLPConfig):
        named.append(f"model.n_embd, now {config.model.n_embd}")
    if not named:
        return f"model.block_size, now {config.model.block_size}"
    *others, last = named
    return f"{', '.join(others)}, or {last}" if others else last
