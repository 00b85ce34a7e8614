"""TensorFlow, asked for by the commands that need it once all else is checked; imports none of it here."""

import os
from importlib.util import find_spec

from segsearch.core.errors import MissingExtra


def require_tensorflow(command: str) -> None:
    """Makes `import keras` mean TensorFlow's; raises MissingExtra naming what is not installed."""
    for module in ("tensorflow", "keras"):
        if find_spec(module) is None:
            raise MissingExtra(command, "train", module)
    # Its C++ side logs every start-up detail otherwise; warnings and errors still come through.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # ours is TensorFlow code, whatever the user's Keras prefers
