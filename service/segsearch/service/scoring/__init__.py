"""Running a bundle: what a scorer promises, and the one that does it with ONNX Runtime."""
