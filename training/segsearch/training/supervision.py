"""What a stage learns from besides its ratings, and how much each of them counts: settings, without TensorFlow.

Where it stands: `config.StageConfig` holds one of each; `input.weighing` and `teachers` do what they say. Sources: the
write-ups of the 3rd YouTube-8M challenge (2nd and 7th place, the latter with code in ceshine/yt8m-2019), the paper we
implement, and the mean-teacher paper (Tarvainen and Valpola, 2017).
"""

from dataclasses import dataclass

from segsearch.core.errors import ConfigError
from segsearch.training.checks import above_zero, at_least, not_negative, one_of, share


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """How a rated segment's classes weigh in the loss. As it stands: rated ones 1, unrated ones nothing.

    weak_negatives takes unrated classes for negatives, of little weight, where the video's own labels make them likely:
      "none"        the mask: what nobody rated teaches nothing
      "each"        weak_weight on each class that is neither rated here nor among the video's labels
      "mean"        weak_weight times the mean over these classes (7th place: weak_weight 0.5, with positive_weight 1.5
                    and negative_weight 0.5)
      "label_mean"  the mean over all classes that are not among the video's labels, rated or not (2nd place:
                    weak_weight 1)
    """

    weak_negatives: str = "none"
    weak_weight: float = 0.1
    positive_weight: float = 1.0  # of a rating that says yes
    negative_weight: float = 1.0  # of a rating that says no
    class_power: float = 0.0  # a class's weight goes with its number of ratings to the minus this; 1 evens them out

    def __post_init__(self) -> None:
        one_of("weak_negatives", self.weak_negatives, ("none", "each", "mean", "label_mean"))
        above_zero("weak_weight", self.weak_weight)
        not_negative("positive_weight", self.positive_weight)
        not_negative("negative_weight", self.negative_weight)
        not_negative("class_power", self.class_power)

    @property
    def need_video_labels(self) -> bool:
        """Whether a rated video must have labels: without them every unrated class would be a weak negative."""
        return self.weak_negatives != "none"


@dataclass(frozen=True, kw_only=True)
class MeanTeacherConfig:
    """Consistency on unlabelled segments between a student that sees them disturbed and the averaged network.

    The paper disturbs by reversing time alone. A bag of frames (DBoF, NetVLAD and its kin, every pooling here but LSTM
    and GRU) scores a reversed segment exactly as the segment itself: there, reversal is no disturbance, and what is
    left of the cost is dropout and the distance between student and average. Give such a network one of the others.
    """

    weight: float = 10.0  # of the mean squared error between the two probability vectors, once ramped up
    ramp_up_steps: int = 1000  # T: at step t the weight is multiplied by exp(-5 (1 - t/T)^2); 0: whole at once
    unlabelled_share: float = 1.0  # unlabelled segments in a batch for each labelled one
    reverse: bool = True  # last frame first
    drop: float = 0.0  # each frame is left out with this probability; one always stays
    noise: float = 0.0  # standard deviation of normal noise on each dequantised value
    mixup: float = 0.0  # up to this share of another segment is mixed in, and of its teacher's scores; at most 0.5

    def __post_init__(self) -> None:
        above_zero("weight", self.weight)
        at_least("ramp_up_steps", self.ramp_up_steps, 0)
        above_zero("unlabelled_share", self.unlabelled_share)
        share("drop", self.drop)
        not_negative("noise", self.noise)
        if not 0 <= self.mixup <= 0.5:
            raise ConfigError("mixup", self.mixup, "from 0 to 0.5")

    def segments_beside(self, batch_size: int) -> int:
        """Unlabelled segments that go with a batch of so many labelled ones, at least one."""
        return max(1, round(self.unlabelled_share * batch_size))
