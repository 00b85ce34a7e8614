"""From shards to checkpoints: two-stage training of segment classifiers (TensorFlow, Keras).

Read in this order: `config` (what can be set), `folder` and `input/` (shards to batches), `layers/` and `models/` (byte
codes to scores), `losses`, `ema`, `schedule`, `trainer` (one stage), `stages` (both stages, folds), `checkpoint` (what
`segsearch.export` packs). `runs/` holds one experiment a file. Modules without a layer in them import no TensorFlow.
"""
