"""What training, export and service agree on: wire formats, segments, vocabulary, metrics, bundles, errors.

Stands on numpy, protobuf, crc32c and the command-line host; imports nothing else of segsearch.
"""
