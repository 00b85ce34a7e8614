"""Several models' score matrices made into one: level two's first half, the paper's section 5.

`members` opens what models left and refuses what does not go together, `candidates` has rules by which a video moves
its segments and `ruled` applies them, `votes` says how scores of different models are made comparable, `weights` finds
how much each member counts, `blend` writes the ensemble's own matrices, `cli` is `segsearch ensemble`. No TensorFlow:
an ensemble is arithmetic on 16-bit codes.
"""
