"""One small network that learns what an ensemble says of every segment: the paper's advice for production.

`lessons` opens the teachers' score matrices and refuses what leaks or does not fit, `examples` brings each segment
with what is said of it, `objective` is the loss, `run` a training of five folds or of all shards, `cli` is
`segsearch distil`.

`make student` is the rest: `line` and `variants` say which commands make all from base models to submissions, and
what that is compared with; `steps` runs them, `scores` and `dense` are what no command does; `findings` reads what they
left, for `report` and `card`.
"""
