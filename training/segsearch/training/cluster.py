"""TF_CONFIG, the variable in which TensorFlow is told of the other machines; read before TensorFlow is."""

import json
from typing import TYPE_CHECKING

from segsearch.core.errors import ConfigError

if TYPE_CHECKING:
    from segsearch.training.config import EngineConfig

_WANTED = """JSON as {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}"""


def check_cluster(config: "EngineConfig", text: str | None) -> None:
    """Raises ConfigError where several machines are asked for and TF_CONFIG does not name them and this one's place."""
    if config.strategy != "multiworker":
        return
    try:
        document = json.loads(text or "")
        task = document["task"]
        place = document["cluster"][task["type"]][int(task["index"])]
    except (ValueError, KeyError, TypeError, IndexError):
        raise ConfigError("TF_CONFIG", text, f"{_WANTED}, as engine.strategy is multiworker") from None
    if not isinstance(place, str):
        raise ConfigError("TF_CONFIG", text, _WANTED)
