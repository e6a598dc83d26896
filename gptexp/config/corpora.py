"""The corpora that conf/data names, as the parts of a mix take them."""

from gptexp.config.data import DataConfig
from gptexp.config.names import CONF_DIR
from gptexp.config.stored import parse_yaml
from gptexp.errors import ConfigError, Problem


def corpora() -> list[str]:
    """The entries of conf/data that can be parts, by name."""
    names = sorted(file.stem for file in (CONF_DIR / "data").glob("*.yaml"))
    return [name for name in names if (one := corpus(name)) and not (one.tokens or one.chat)]


def corpus(name: str) -> DataConfig | None:
    """The section of an entry; None where there is none, or where it does not say its text.

    Raises ConfigError for an entry that is none.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    file = CONF_DIR / "data" / f"{name}.yaml"
    if not file.is_file():
        return None
    try:
        values = parse_yaml(file.read_text(encoding="utf-8"))
        values = {key: value for key, value in values.items() if key != "defaults"}
        if values.get("path") == "???" or (values.get("asset"), values.get("path")) == (None, None):
            return None
        section = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DataConfig), values))
    except (OSError, ValueError, AttributeError, OmegaConfBaseException) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(Problem(file, reason, "correct it, as conf/data/text.yaml")) from error
    assert isinstance(section, DataConfig)
    return section
