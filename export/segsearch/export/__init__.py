"""Turns a checkpoint into a model bundle that the service can trust.

`serving_graph` makes the function to be served, `onnx_model` converts it, `parity` holds the two against each other,
`packing` puts the bundle together. Stands on core and training.
"""
