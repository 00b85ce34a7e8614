"""Ranks the segments of a library by tag and scores new videos: index, scoring, reindex job, REST.

In the data's order: `scoring` runs a bundle, `jobs` score shards into `index` generations, `library` answers from them,
`rest` puts the library on HTTP. Never imports TensorFlow.
"""
