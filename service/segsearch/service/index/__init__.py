"""Immutable generations of posting lists: selecting, writing, mapping and publishing them."""
