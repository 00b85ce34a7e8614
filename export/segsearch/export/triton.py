"""`config.pbtxt`, with which NVIDIA Triton serves a bundle's float32 model as it lies.

Triton reads `<name>/config.pbtxt` beside the numbered versions, and passes over the other files of a version.
"""

from segsearch.core.blocks import reach
from segsearch.core.bundle import Manifest

TRITON_CONFIG = "config.pbtxt"


def triton_config(manifest: Manifest) -> str:
    """The text for this bundle; free axes are -1. Batches are the caller's: several videos go in one request."""
    size, classes, embedding = manifest.features.size, manifest.class_count, manifest.embedding_size
    if manifest.graphs[0].layout == "blocks":
        inputs = [
            ("frames", "UINT8", (-1, size)),
            ("block_frames", "INT32", (-1,)),
            ("windows", "INT32", (-1, 2 * reach(manifest.context_frames) + 1)),
        ]
        codes = [
            ("codes", "UINT16", (-1, classes)), ("class_codes", "UINT16", (classes, -1)), ("sound", "BOOL", (-1,)),
        ]  # fmt: skip
    else:
        inputs, codes = [("frames", "UINT8", (-1, -1, size)), ("frame_count", "INT32", (-1,))], []
    outputs = [("scores", "FP32", (-1, classes)), *codes, ("embedding", "FP32", (-1, embedding))]
    lines = [f'name: "{manifest.name}"', 'platform: "onnxruntime_onnx"', "max_batch_size: 0"]
    lines += [_tensor("input", *each) for each in inputs] + [_tensor("output", *each) for each in outputs]
    return "\n".join(lines) + "\n"


def _tensor(kind: str, name: str, dtype: str, shape: tuple[int, ...]) -> str:
    return f'{kind} {{ name: "{name}" data_type: TYPE_{dtype} dims: [ {", ".join(map(str, shape))} ] }}'
