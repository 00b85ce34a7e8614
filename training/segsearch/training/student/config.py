"""What can be set about a student's learning, checked before TensorFlow is imported; and which students there are.

Where it stands: `cli` makes one of its options. The student's network and its two stages are a `RunConfig` like any
other, which `segsearch train` trains on labels alone.
"""

import dataclasses
import importlib
import pkgutil
from dataclasses import dataclass

from segsearch.core.errors import ConfigError
from segsearch.training.checks import above_zero, one_of, share
from segsearch.training.config import RunConfig
from segsearch.training.supervision import LabelConfig

EPOCH_SHARE = 0.1  # of the epochs that the run takes on labels alone
SUFFIX = "_student"  # dbof-small is the run dbof_small_student


@dataclass(frozen=True, kw_only=True)
class DistilConfig:
    """How a student's loss is shared out between people's ratings and its teachers' scores.

    divergence:
      "binary"   cross entropy of every class by itself against the teachers' probability. A list ranks segments of one
                 class, so the level of a score counts, and a segment may show several classes or none.
      "softmax"  the distance between the two softmaxes over classes, as towers learn from their mix: only how a
                 segment's classes stand to each other counts, its level is free.
    """

    temperature: float = 1.0  # teachers' and student's logits are divided by it: above 1 small scores count for more
    label_weight: float = 0.25  # of the ratings' cross entropy; the rest of the loss follows the teachers
    divergence: str = "binary"

    def __post_init__(self) -> None:
        above_zero("temperature", self.temperature)
        share("label_weight", self.label_weight, top=True)
        one_of("divergence", self.divergence, ("binary", "softmax"))


def student_run(name: str) -> RunConfig:
    """The run of a student, as dbof-small, or any other run by its module's name. Raises ConfigError for none."""
    from segsearch.training import runs

    names = sorted(module.name for module in pkgutil.iter_modules(runs.__path__))
    module = next((run for run in (f"{name.replace('-', '_')}{SUFFIX}", name) if run in names), None)
    if module is None:
        students = [run.removesuffix(SUFFIX).replace("_", "-") for run in names if run.endswith(SUFFIX)]
        raise ConfigError("--student", name, f"one of {', '.join(students)}, or a run's name")
    config: RunConfig = importlib.import_module(f"{runs.__name__}.{module}").RUN
    return config


def taught(config: RunConfig) -> RunConfig:
    """The run as a student goes through it: its second stage learns from teachers what `labels` guessed otherwise.

    A student's epoch shows every segment, ten times as many as people rated, and its targets hold no noise of single
    ratings: it takes larger steps, and a tenth of the epochs.
    """
    if config.network.mix is not None:
        raise ConfigError("network.mix", config.network.mix, "none: a student is one network")
    if config.stage2.mean_teacher is not None:
        raise ConfigError("stage2.mean_teacher", config.stage2.mean_teacher, "none: a student's teachers are finished")
    stage = dataclasses.replace(
        config.stage2,
        labels=LabelConfig(),
        learning_rate=2 * config.stage2.learning_rate,
        epochs=max(1, round(EPOCH_SHARE * config.stage2.epochs)),
    )
    return dataclasses.replace(config, stage2=stage)
