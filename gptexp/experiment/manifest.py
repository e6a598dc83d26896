"""config.yaml and manifest.json: what a run is, and what is needed to repeat it."""

import logging
from typing import Any

from gptexp import plugins
from gptexp.config import Config, DataConfig, beginning_hash, to_yaml
from gptexp.data.corpus import SPLITS, is_capped, judged
from gptexp.data.parts import parts_of, shares
from gptexp.data.read import corpus_digest
from gptexp.experiment.auto_compile import decision
from gptexp.experiment.identity import Identity
from gptexp.experiment.prepare import Inputs
from gptexp.runs import provenance
from gptexp.runs.schema import Manifest, Process, Resume, Share
from gptexp.runs.seal import sealed
from gptexp.runs.secrets import masked
from gptexp.text import listed

log = logging.getLogger(__name__)


def write_manifest(
    config: Config,
    identity: Identity,
    inputs: Inputs,
    overrides: list[str],
    resumed_step: int | None,
) -> None:
    """config.yaml and manifest.json; each resume adds what differs from the process before it."""
    directory = identity.directory
    now = provenance.environment(inputs.runtime) | inputs.ranks.to_dict()
    now |= decision(config, inputs.trainer)
    corpus, cap = inputs.corpus, config.trainer.eval_tokens
    before = directory.manifest()
    resumes, origin = list[Resume](), dict[str, object]()
    if resumed_step is not None:
        resumes = [*before.get("resumes", []), resume(resumed_step, before, now)]
        origin = {key: value for key, value in before.items() if key in ("extended", "branched")}
    else:
        warn_of_changed_data(config, identity)
    directory.write_text("config.yaml", to_yaml(config))
    directory.write_json(
        "manifest.json",
        sealed(
            {
                "run": directory.path.name,
                "config_hash": identity.hash,
                "beginning_hash": beginning_hash(
                    config, identity.data_sha256, identity.start_sha256
                ),
                "command": provenance.command(),
                "overrides": [masked(word) for word in overrides],
                "seed": config.seed,
                "data": {
                    "name": config.data.name,
                    "path": config.data.path,
                    "sha256": identity.data_sha256,
                    "bounds": inputs.text.splits.bounds,
                    "tokens": {name: corpus.tokens_per_epoch(name) for name in SPLITS},
                    **({"judged": judged(corpus, cap)} if is_capped(corpus, cap) else {}),
                    **({"parts": _parts(config.data)} if config.data.parts else {}),
                },
                "tokenizer": provenance.fingerprint(inputs.tokenizer.to_dict()),
                "git": provenance.git(),
                "environment": now,
                "sources": provenance.sources(),
                "plugins": plugins.sources(config.plugins),
                "resumes": resumes,
                "max_steps": inputs.trainer.max_steps,
                "trunk_steps": config.trunk_steps(inputs.trainer.max_steps),
                **origin,
            }
        ),
    )


def _parts(data: DataConfig) -> dict[str, Share]:
    """What the parts of a mix are."""
    own = shares(data)
    return {
        name: Share(sha256=corpus_digest(part), share=own[name])
        for name, part in parts_of(data).items()
    }


def resume(step: int, before: Manifest, now: dict[str, Any]) -> Resume:
    """What differs from the process before, with a warning where it can change bits."""
    differs = provenance.differences(before.get("environment", {}), now)
    changed = provenance.changed(before.get("sources", {}))
    differs += [f"code of {listed(changed)}"] if changed else []
    if differs:
        log.warning(
            "environment differs: %s; the rest may not be bit-equal to an uninterrupted run",
            "; ".join(differs),
        )
    earlier = Process(
        command=[masked(word) for word in before.get("command") or []],
        git=before.get("git"),
        environment=before.get("environment"),
        sources=before.get("sources"),
    )
    return Resume(step=step, differs=differs, before=earlier)


def warn_of_changed_data(config: Config, identity: Identity) -> None:
    """A changed corpus makes a new run; say so to whoever meant to go on with the old one."""
    other = identity.directory.same_path_other_content(config.data.path, identity.data_sha256)
    if other is not None:
        log.warning(
            "%s has changed since %s was trained on it: SHA-256 %s then, %s now; this is a new run",
            config.data.path,
            *other,
            identity.data_sha256,
        )
