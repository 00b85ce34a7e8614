"""Networks that others trained: the public reference systems' variables and flags, read into ours and checked.

`variables` reads a reference's file, `layouts` and `heads` know how each system names and shapes its variables,
`checkpoints` makes our config and weights of them, `check` compares outputs, `importing` does all of it in order.
"""
