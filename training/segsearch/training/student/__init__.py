"""One small network that learns what an ensemble says of every segment: the paper's advice for production.

`lessons` opens the teachers' score matrices and refuses what leaks or does not fit, `examples` brings each segment
with what is said of it, `objective` is the loss, `run` a training of five folds or of all shards, `cli` is
`segsearch distil`. `scores` and `line` are `make student`: everything from base models to submissions.
"""
