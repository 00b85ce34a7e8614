"""LightGBM above an ensemble: rated pairs teach trees which of the models to believe where, the paper's section 5.

`scored` holds what all models say of some segments, `features` makes a row of numbers of a (segment, class) pair,
`ranker` learns from rated rows and scores any, `order` puts its scores back into whole matrices, `levels` does all of
it honestly, fold by fold, `importance` draws what the trees gained from, `cli` is `segsearch level-two`. No TensorFlow.
"""
