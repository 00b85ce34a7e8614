"""A network at inference as one line of steps, and what makes a line cheaper.

Where it stands: `networks` reads lines off trained networks, `block_graph` writes them.

F codes a frame, C classes, H embedding size.
"""

import dataclasses
from dataclasses import dataclass

from segsearch.export.folding import Steps, fold
from segsearch.export.half_floats import halve
from segsearch.export.heads import Scores
from segsearch.export.quantisation import quantise


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A network as one line of steps: bytes of frames to embeddings of segments to scores."""

    body: Steps  # to the embedding
    head: Steps  # to the columns that `scores` takes
    scores: Scores
    frame_size: int
    context: int  # frames each side of a segment
    classes: int
    embedding_size: int
    projection: Steps = ()  # from what the head takes to the embedding that is given out

    def folded(self) -> "Line":
        """The same, cheaper."""
        return dataclasses.replace(self, body=fold(self.body))

    def halved(self, *, imitated: bool = False) -> "Line | None":
        """Nearly the same, with the body's products in half floats; None where there are none.

        imitated: in 32-bit floats that are rounded as half floats are, which tells on any processor what it costs.
        """
        cheaper = self.folded()
        body = halve(cheaper.body, imitated=imitated)
        return None if body == cheaper.body else dataclasses.replace(cheaper, body=body)

    def quantised(self) -> "Line | None":
        """Nearly the same, with products in 8-bit integers; None where none of them can be."""
        cheaper = self.folded()
        body = quantise(cheaper.body)
        head = quantise((cheaper.body[-1], *cheaper.head))[1:]  # the step before says what range the product meets
        if body == cheaper.body:
            return None
        return dataclasses.replace(cheaper, body=body, head=head)
