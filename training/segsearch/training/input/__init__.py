"""Shards to batches: `survey` looks before training starts, `shards` reads, `videos` and `segments` make examples."""
