"""Turns a checkpoint into a model bundle that the service can trust.

`networks` reads a network's steps; `folding` and `quantisation` make them cheaper; `block_graph` writes them as ONNX.
Networks that see frames in order go through `serving_graph` and `onnx_model` instead. `parity` holds what comes out
against the network, `packing` puts the bundle together. Stands on core and training.
"""
