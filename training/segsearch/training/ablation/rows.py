"""What an ablation trains: every row is a run of `segsearch.training.runs`, with changes, on all five folds.

Rows whose stage 1 is the same share it: `start` names the row that trains it.
"""

from dataclasses import dataclass

# Table 2: every structure, with the context of its run and alone.
STRUCTURES = {
    "dbof": "DBoF",
    "soft_dbof": "SoftDBoF",
    "gated_dbof": "Gated DBoF",
    "netvlad": "NetVLAD",
    "netvlad_light": "NetVLAD-light",
    "netvlagd": "NetVLAGD",
    "netfv": "NetFV",
    "nextvlad": "NeXtVLAD",
    "lstm": "LSTM",
    "lstm_logistic": "LSTM, bidirectional, logistic",
    "lstm_moe": "LSTM, bidirectional, MoE",
    "gru": "GRU",
    "mixdbof": "MixDBoF",
    "mixnextvlad": "MixNeXtVLAD",
}
CONTEXTS = (0, 1, 2, 5, 15)
DECAYS = (0.9, 0.99, 0.999)
TEMPERATURES = (1.0, 3.0, 10.0)
RUN_CONTEXT, RUN_DECAY, RUN_TEMPERATURE = 1, 0.99, 3.0  # what dbof_audioset and mixdbof_audioset have


@dataclass(frozen=True, kw_only=True)
class Row:
    """One training of stage 1, or another row's, and of five folds."""

    name: str  # of its folder
    run: str  # module in `runs`
    changes: tuple[str, ...] = ()  # as of `segsearch train --set`
    start: str | None = None  # the row whose stage 1 it goes on from; None: it trains its own


# Table 1: each row adds one thing to the row above it.
TABLE_ONE = {
    "dbof_plain": "DBoF",
    "dbof_context": "+ context",
    "dbof": "+ EMA",
    "mixdbof": "+ distillation (MixDBoF)",
    "mixdbof_teacher": "+ mean teacher",
}
NO_DIVERGENCE = "mixdbof_no_divergence"  # the mix without its lesson: what the divergence itself brings


def rows() -> list[Row]:
    """All of them, each after the row it starts from."""
    return [*_structures(), *_steps(), *_contexts(), *_decays(), *_temperatures(), *_alone()]


def context_row(context: int) -> str:
    """The row of DBoF with so many context frames each side."""
    return {RUN_CONTEXT: "dbof", 0: alone("dbof")}.get(context, f"dbof_context_{context}")


def decay_row(decay: float | None) -> str:
    """The row of DBoF with this EMA decay; None: without an average."""
    if decay is None:
        return "dbof_context"
    return "dbof" if decay == RUN_DECAY else f"dbof_decay_{_digits(decay)}"


def temperature_row(temperature: float) -> str:
    """The row of MixDBoF with this temperature."""
    return "mixdbof" if temperature == RUN_TEMPERATURE else f"mixdbof_temperature_{_digits(temperature)}"


def alone(structure: str) -> str:
    """The row of a structure that sees a segment's own five frames."""
    return f"{structure}_alone"


def _structures() -> list[Row]:
    return [Row(name=name, run=f"{name}_audioset") for name in STRUCTURES]


def _alone() -> list[Row]:
    change = ("context_frames=0",)
    return [Row(name=alone(name), run=f"{name}_audioset", changes=change, start=name) for name in STRUCTURES]


def _steps() -> list[Row]:
    starts = {"dbof_plain": "dbof", "dbof_context": "dbof", "mixdbof_teacher": "mixdbof"}
    return [Row(name=name, run=f"{name}_audioset", start=start) for name, start in starts.items()]


def _contexts() -> list[Row]:
    return [
        Row(name=context_row(count), run="dbof_audioset", changes=(f"context_frames={count}",), start="dbof")
        for count in CONTEXTS
        if context_row(count) not in ("dbof", alone("dbof"))
    ]


def _decays() -> list[Row]:
    return [
        Row(name=decay_row(decay), run="dbof_audioset", changes=(f"stage2.average.decay={decay}",), start="dbof")
        for decay in DECAYS
        if decay != RUN_DECAY
    ]


def _temperatures() -> list[Row]:
    distillation = "network.mix.distillation"

    def row(name: str, change: str) -> Row:
        return Row(name=name, run="mixdbof_audioset", changes=(f"{distillation}.{change}",), start="mixdbof")

    rows = [row(temperature_row(value), f"temperature={value}") for value in TEMPERATURES if value != RUN_TEMPERATURE]
    return [*rows, row(NO_DIVERGENCE, "weight=0")]


def _digits(value: float) -> str:
    return f"{value:g}".replace(".", "")
