"""x"""

import pytest
from interruptions import Small

from gptexp.config import from_yaml, to_yaml
from gptexp.errors import ConfigError


def test_from_yaml_is_the_inverse_of_to_yaml_and_refuses_the_rest(small: Small) -> None:
    assert from_yaml(to_yaml(small())) == small()
    with pytest.raises(ConfigError, match=r"model\.n_embdd: no such key"):
        from_yaml(to_yaml(small()).replace("n_embd:", "n_embdd:"))
