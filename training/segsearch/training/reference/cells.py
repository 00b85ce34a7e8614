"""TensorFlow 1's recurrent cells as Keras keeps them.

Where it stands: part of `layouts`. TensorFlow 1 has one matrix over [input, state] where Keras has a kernel
and a recurrent kernel; gates stand in another order.
"""

from collections.abc import Callable

import numpy as np

from segsearch.training.reference.variables import Variables, Weights

Cell = Callable[[Variables], Weights]  # a cell's variables -> kernel, recurrent_kernel and bias


def stacked(scope: Variables, convert: Cell, theirs: str, ours: str) -> tuple[Weights, int, int]:
    """A stack's weights, its cells and its layers."""
    weights: Weights = {}
    cells = layers = 0
    while layers == 0 or scope.has(f"multi_rnn_cell/cell_{layers}/"):
        arrays = convert(scope.under(f"multi_rnn_cell/cell_{layers}/{theirs}"))
        layers += 1
        weights |= {f"layer_{layers}/{ours}/{part}": array for part, array in arrays.items()}
        cells = arrays["recurrent_kernel"].shape[0]
    return weights, cells, layers


def both_ways(variables: Variables, convert: Cell, theirs: str, ours: str) -> tuple[Weights, int]:
    """Weights of a layer that reads both ways and one above it, and the upper one's cells."""
    cell = f"multi_rnn_cell/cell_0/{theirs}"
    places = {
        "ahead": f"bidirectional_rnn/fw/{cell}",
        "back": f"bidirectional_rnn/bw/{cell}",
        "layer_2": f"rnn/{cell}",
    }
    weights: Weights = {}
    for name, place in places.items():
        weights |= {f"{name}/{ours}/{part}": array for part, array in convert(variables.under(place)).items()}
    return weights, weights[f"layer_2/{ours}/recurrent_kernel"].shape[0]


def lstm_cell(scope: Variables) -> Weights:
    """TensorFlow 1 has one matrix over [input, state] with gates i, j, f, o, and adds 1 to f when it runs; Keras has
    two with i, f, c, o.
    """
    kernel, bias = scope.take("kernel"), scope.take("bias")
    cells = len(bias) // 4

    def in_our_order(array: np.ndarray) -> np.ndarray:
        i, j, f, o = np.split(array, 4, axis=-1)
        return np.concatenate([i, f, j, o], axis=-1)

    shift = np.zeros(4 * cells, np.float32)
    shift[cells : 2 * cells] = 1
    kernel = in_our_order(kernel)
    return {"kernel": kernel[:-cells], "recurrent_kernel": kernel[-cells:], "bias": in_our_order(bias) + shift}


def gru_cell(scope: Variables) -> Weights:
    """TensorFlow 1 has gates r, u and apart from them the candidate; Keras has z (= u), r, h in one."""
    gates, candidate = scope.take("gates/kernel"), scope.take("candidate/kernel")
    r, u = np.split(gates, 2, axis=-1)
    r_bias, u_bias = np.split(scope.take("gates/bias"), 2)
    kernel, cells = np.concatenate([u, r, candidate], axis=-1), candidate.shape[1]
    bias = np.concatenate([u_bias, r_bias, scope.take("candidate/bias")])
    return {"kernel": kernel[:-cells], "recurrent_kernel": kernel[-cells:], "bias": bias}
