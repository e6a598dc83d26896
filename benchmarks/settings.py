"""What is measured: models, batches and cadences at which nanoGPT has published numbers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """A config of this project, and what it leaves open of nanoGPT's."""

    overrides: tuple[str, ...]
    eval_iters: int  # random batches of each split in an evaluation of nanoGPT's


CHARACTERS = "experiment=nanogpt_shakespeare"  # batch 64, dropout 0.2

SETTINGS = {
    # The README's command for a laptop: a line of the loss each step.
    "laptop": Setting(("experiment=nanogpt_laptop", "trainer.log_interval=1"), eval_iters=20),
    "tiny": Setting((CHARACTERS, "model=tiny"), eval_iters=200),
    # An eighth of the batch, so that a turn takes seconds on a CPU.
    "small": Setting((CHARACTERS, "model=small", "trainer.batch_size=8"), eval_iters=200),
    "medium": Setting((CHARACTERS,), eval_iters=200),  # for CUDA
}
