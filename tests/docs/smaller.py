"""A command of the documentation with as little to do as can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from documented import Command

# What a command is told besides, or in place of what it says.
SMALL_NETWORK = ("model=femto", "data.time_steps=2", "data.batch_size=2", "data.max_samples_per_file=3")
SHORT = ("trainer.max_epochs=1", "trainer.threads=1", "trainer.device=cpu", "logger=none", "data.samples_per_epoch=4")
EMBEDDED = (
    *("data.dataset.train_sequences=1", "data.dataset.val_sequences=2", "data.dataset.test_sequences=2"),
    *("data.dataset.duration_us=12000", "data.dataset.label_rate_hz=1000"),
)
RECORDED = ("data.slice_duration_us=1000",)
SMALLER = {
    "train": (*SMALL_NETWORK, *SHORT),
    "doctor": ("overfit_steps=0", "sections=[windows]"),
    "evaluate": ("threads=1", "costs=false"),
    "predict": ("threads=1", "filters.time_range_us=[0,4000]"),
    "view": ("duration_us=3000", "fps=5"),
    "convert": ("workers=1",),
    "compare": ("draws=100",),
}
# What takes the place of a value that is given.
GIVEN = ("start_us=500", "hop_us=200", "data.train_until_us=400000", "data.events_per_window=500")
BESIDE = {  # more, where a word stands in the command
    "+pruning=channels": (
        *("trainer.max_epochs=2", "trainer.callbacks.channels.first_epoch=1"),
        "trainer.callbacks.channels.last_epoch=1",
    ),
    "trainer.profile=true": ("data.samples_per_epoch=6",),
    "follow=true": ("timeout=0.3",),
}


def smaller(command: Command, number: int) -> list[str]:
    """The command's words with files that are there, and with as little to do as can be."""
    module, words = str(command.module), list(placed(command))
    more = [*SMALLER.get(module, ()), *of_data(command)]
    more += [word for there, beside in BESIDE.items() if there in words for word in beside]
    keys = {key_of(word) for word in words}
    more += [word for word in GIVEN if key_of(word) in keys]
    if module in ("train", "doctor"):
        more.append(f"hydra.{'sweep' if '-m' in words else 'run'}.dir=made/{number}")
    elif module == "predict" or (module == "convert" and "info=true" not in words) or "out" in keys:
        suffix = next((Path(word).suffix for word in words if word.startswith("out=")), "")
        more.append(f"out=made/{number}{suffix}")
    for word in more:
        same = [old for old in words if key_of(old) == key_of(word)]
        if not same:
            words.append(word)
        elif not same[0].endswith("=auto"):  # what is found out by itself stays so
            words[words.index(same[0])] = word
    return words


def key_of(word: str) -> str:
    return word.partition("=")[0]


def of_data(command: Command) -> tuple[str, ...]:
    """What makes a data set small."""
    words = command.arguments
    if command.module not in ("train", "doctor") or any(word.startswith("checkpoint=") for word in words):
        return ()
    recorded = any(word.startswith(("data.root=", "data.events=")) for word in words)
    network = () if command.module == "train" else SMALL_NETWORK
    return (*network, *(RECORDED if recorded else EMBEDDED))


def placed(command: Command) -> Iterator[str]:
    """Its words, with what is there in the place of FILE, PATH, FOLDER and runs."""
    words, run = command.arguments, run_of(command)
    data = next((word.partition("=")[2] for word in words if word.startswith("data=")), "etram")
    tables = "found" if command.module == "view" else f"{run}/evaluation/best_test"
    root = {"folders": "PATH", "converted": "converted", "etram3": "sets/etram"}.get(data, f"sets/{data}")
    if command.module == "evaluate":
        root = f"sets/{run}"
    if "data.val_share=0.2" in words:
        root = "sets/flat"
    runs = iter(("RUN", "OTHER"))
    for word in words:
        key, given, value = word.partition("=")
        if command.module == "compare" and not given:
            yield word if word.startswith("multirun/") else next(runs)
        elif "/checkpoints/" in value:
            yield f"{key}={run}/checkpoints/{value.partition('/checkpoints/')[2]}"
        elif key in ("detections", "truth", "tracks"):
            yield f"{key}={tables}/{key}.parquet"
        elif key == "data.root":
            yield f"{key}={root}"
        elif value in ("FILE", "demo/demo.zarr") and key != "out":
            yield f"{key}=street.{'csv' if key.endswith('labels') else 'raw'}"
        else:
            yield word


def run_of(command: Command) -> str:
    """The run that a command of an evaluation is about."""
    if command.module == "evaluate" and any(word.startswith(("protocol=", "data.root=")) for word in command.arguments):
        return "gen1"
    return "RUN"
