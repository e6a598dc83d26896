"""What makes two configs one run: hashes, and the names of run directories."""

import dataclasses

import pytest
from config_keys import VARIANT_CHOICES, leaves
from small_runs import SHIPPED, put

from gptexp import assets
from gptexp.config import (
    GPTConfig,
    config_hash,
    run_name,
)
from gptexp.config.schema import VARIANTS
from gptexp.experiment.identity import identify

NO_DATA = "0" * 64

SHAKESPEARE = assets.known("tinyshakespeare").sha256

# Identity of every shipped preset: the hash names the run directories that people already have.
GOLDEN = {
    "model=bigram": "adf43eb3d1b341264e9ab0541c53a57e2642804c",
    "model=gpt2": "87894677ed321d180475fa7f1918c7f1f120e24c",
    "model=gpt2_large": "117c161b96476159b5f2e283011e88e7f569c8de",
    "model=gpt2_medium": "b3fdcf73f6deaabf01b0491b081af5332cc4b6e6",
    "model=gpt2_xl": "09f7ca89c88cd195d5ff6ad3ab4ff0f0751ace26",
    "model=laptop": "7a91c4c20b61e90134df0b01c83c6ff4395e33ba",
    "model=medium": "6536766231dd6467a6594e18530497906aaff768",
    "model=micro": "85ff31fc3ae9ec36e743b6a1308da004a7da6462",
    "model=mlp": "cc36a2bfa28b70018ce20eda3957b2a051e26976",
    "model=modern_laptop": "7e385f00d0dda34f14b6187b63c2759f439fc0db",
    "model=modern_medium": "772e96cf13b4d536e8b58d8ce2a833cf5a78d28b",
    "model=modern_small": "19afe93658e0d25c7dc52e786ed970bc36d856bf",
    "model=modern_tiny": "982634ce4cce53932afbcce2a5e77f745df1985a",
    "model=small": "338333b61683fda3e32977db5dd81358970d9903",
    "model=tiny": "79e0dbe5d9e4e4ea0b4acb2f5bb00ef4c5949688",
    "experiment=chat_base": "a6e1d5f3ead22a5f9227e5d514db2c088c1970e9",
    "experiment=chat_tiny": "565993dd3b6ad6f239432fe5cd4fc56b50b0ca0e",
    "experiment=best_laptop": "d4c5be66f471710f73259856b75c12b4fe41101e",
    "experiment=best_shakespeare": "e9d01f63e341f05cd07d49a0bd926e7047c69521",
    "experiment=fast_laptop": "57bdec8e08efa3bdb1143e3faabf0ff1497bbbf4",
    "experiment=gpt2_124m": "ca2475e6f43726fc8476b4993ca17b3bda6cfa31",  # of token files
    "experiment=ladder_bigram": "7681bf679b1df4545daafe8cc3e46fc30b88881a",
    "experiment=ladder_head": "e55175459b7be17b9d8dbfb8b4ee3d912d698627",
    "experiment=ladder_heads": "55b33d2d61374fedd2aa1dd28118f932ce12d18c",
    "experiment=ladder_layers": "b86046c48230bbeb8627a8e908da31e792b7115b",
    "experiment=ladder_mlp": "f55ed0ef468f31a8d2af3ba06cd12d551d66fcba",
    "experiment=ladder_mlp3": "4a6ce0c341148bb374fc715283001cc137667a5c",
    "experiment=microgpt": "d5199545384284b9acfddea3e60b47dd786a8ef7",
    "experiment=nanogpt_laptop": "988eaaa7b5a3bcc84bb7aa644f2daa0b73b8289a",
    "experiment=nanogpt_shakespeare": "e786401cdd257f4291af375b850a780724ef381e",
}


@pytest.mark.parametrize("given", SHIPPED)
def test_golden_hash_of_what_is_shipped(composed, given):
    found = config_hash(composed(given), SHAKESPEARE)[:40]
    assert GOLDEN.get(given) == found, (
        f"The identity of {given} is now {found}. Runs and sweeps that people have on disk would "
        "not be found again and would be trained anew. If a key was added, give it a dataclass "
        "default that means the old behaviour. Change GOLDEN only for a new composed, or for a "
        "value that was meant to change, and say so in the change's description."
    )


def test_golden_hashes_are_of_presets_that_exist():
    assert sorted(GOLDEN) == sorted(SHIPPED)


def test_two_shipped_presets_are_never_one_run():
    assert len(set(GOLDEN.values())) == len(GOLDEN)


NOT_HASHED = {
    "name",
    "rerun",
    "init_from",  # counts by the checkpoint's content
    "data.path",  # counts by the file's content
    "plugins",
    "branch_from",  # counts by what it goes on from
    "logger.name",
    "logger.tensorboard",
    "logger.wandb",
    "logger.entity",
    "logger.project",
    "logger.group",
    "logger.job_type",
    "logger.tags",
    "trainer.log_interval",
    "trainer.sample_interval",
    "trainer.sample_tokens",
    "trainer.sample_documents",
    "trainer.sample_temperature",
    "trainer.sample_top_k",
    "trainer.checkpoint_interval",
    "trainer.keep",
    "trainer.retry_failed",
    "trainer.profile",
    "trainer.diagnostics_interval",
    "trainer.activation_checkpointing",
    "trainer.parallel",
    "trainer.rank_timeout",
}


@pytest.mark.parametrize("variant", VARIANT_CHOICES)
def test_exactly_the_keys_that_can_move_a_weight_or_a_metric_are_hashed(composed, variant):
    config = composed(variant)
    before = config_hash(config, NO_DATA)
    for key, old, new in leaves(config):
        changed = config_hash(put(config, key, new), NO_DATA) != before
        assert changed == (key not in NOT_HASHED), key
        put(config, key, old)
    assert config_hash(config, NO_DATA) == before


def test_every_variant_is_another_run(composed):
    for group, variants in VARIANTS.items():
        given = [word for word in VARIANT_CHOICES if word.startswith(f"{group}=")]
        hashes = {config_hash(composed(word), NO_DATA) for word in given}
        assert len(hashes) == len(variants)


def test_a_device_counts_without_its_index_and_auto_is_not_cpu(composed):
    hashes = {
        device: config_hash(put(composed(), "trainer.device", device), NO_DATA)
        for device in ("auto", "cpu", "cuda", "cuda:0", "cuda:3")
    }
    assert hashes["cuda"] == hashes["cuda:0"] == hashes["cuda:3"]
    assert len(set(hashes.values())) == 3


def test_a_file_counts_by_its_content_and_not_by_its_path(small, text_file, tmp_path):
    other = tmp_path / "elsewhere.txt"
    other.write_bytes(text_file.read_bytes())
    config = small()
    original = identify(config, tmp_path)
    put(config, "data.path", str(other))
    assert identify(config, tmp_path).hash == original.hash
    other.write_bytes(text_file.read_bytes() + b"!")
    changed = identify(config, tmp_path)
    assert changed.hash != original.hash
    assert changed.directory.path != original.directory.path


def test_a_checkpoint_to_start_from_counts_by_its_content(composed):
    plain, one, two = (
        config_hash(composed(), NO_DATA, init) for init in (None, "a" * 64, "b" * 64)
    )
    assert len({plain, one, two}) == 3
    assert config_hash(put(composed(), "init_from", "elsewhere"), NO_DATA, "a" * 64) == one


@dataclasses.dataclass(kw_only=True, slots=True)
class LaterModelConfig(GPTConfig):
    """The model of a later release, which knows one more key."""

    rope_base: float = 10_000.0


def test_a_key_added_later_changes_no_hash_until_it_is_used(composed):
    config = composed()
    before = config_hash(config, NO_DATA)
    config.model = LaterModelConfig(**dataclasses.asdict(config.model))
    assert config_hash(config, NO_DATA) == before
    config.model.rope_base = 500_000.0
    assert config_hash(config, NO_DATA) != before


def test_equal_configs_have_equal_hashes_however_they_were_written(composed):
    one = composed("optim.lr=1e-3", "model=tiny", "model.dropout=0")
    two = composed("model=tiny", "optim.lr=0.001")
    assert config_hash(one, NO_DATA) == config_hash(two, NO_DATA)


@pytest.mark.parametrize(
    ("fraction", "seed", "name"),
    [
        (1.0, 0, "laptop-shakespeare-f1-s0-01234567"),
        (0.25, 7, "laptop-shakespeare-f0.25-s7-01234567"),
        (0.001, 12345, "laptop-shakespeare-f0.001-s12345-01234567"),
    ],
)
def test_a_run_directory_is_named_by_its_config(composed, fraction, seed, name):
    config = put(put(composed(), "data.fraction", fraction), "seed", seed)
    config.name = "not in it"
    assert run_name(config, "0123456789abcdef") == name


def test_a_run_directory_stands_under_the_name_of_its_group(small, tmp_path):
    config = small("name=mine")
    who = identify(config, tmp_path)
    assert who.directory.path == tmp_path / "mine" / f"laptop-text-f1-s0-{who.hash[:8]}"
    assert who.hash == config_hash(config, who.data_sha256)
    assert not who.directory.path.parent.exists()
