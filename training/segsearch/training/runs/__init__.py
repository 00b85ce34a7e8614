"""Experiments, one a file: the command, the hardware, the time and the measured MAP, or blank until it is measured."""
