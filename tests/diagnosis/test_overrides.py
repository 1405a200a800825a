"""Whatever the doctor proposes composes, and is allowed, for the data, the neuron and the command it is meant for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from planted_windows import WINDOW_FAULTS, diagnosed
from test_machine_faults import checked

from spikeyolo import convert, schema, train
from spikeyolo.diagnosis.checkpoint import against_data
from spikeyolo.diagnosis.finding import Entry, Finding, Kind
from spikeyolo.diagnosis.labels.boxes import readings
from spikeyolo.diagnosis.labels.check import changes
from spikeyolo.diagnosis.network import mends
from spikeyolo.diagnosis.network.overfit import REFERENCE_LR, REFERENCE_WORDS
from spikeyolo.diagnosis.origin import Origin, cool, corrected, counted_in, origin_of
from spikeyolo.diagnosis.settings import Settings, smaller_batch
from spikeyolo.entry import config_directory
from spikeyolo.events.conversion.converted import ConvertedSet
from spikeyolo.events.datasets import SingleRecording
from spikeyolo.events.labels import LabelCorrection
from spikeyolo.events.labels.units import TimeUnit
from spikeyolo.events.simulator.synthetic import SyntheticDataset

DATA = {
    "recording": ("data=recording", "data.events=a.csv", "data.classes=[car]", "data.train_until_us=1000000"),
    "etram": ("data=etram", "data.root=set"),
    "converted": ("data=converted", "data.root=set"),
    "synthetic": ("data=synthetic",),
}
NEURONS = ("ilif", "lif", "lif_box", "plif", "relu")
# What is mended in files and cameras, not by an argument.
BY_HAND = {"unrelated", "strays", "polarity", "dropped", "duplicates"}
Proposal = tuple[Kind, Entry, tuple[str, ...]]


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


@pytest.fixture(scope="module")
def of_windows(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Finding]:
    """The first finding of each fault that is planted in windows."""
    folder = tmp_path_factory.mktemp("windows")
    return {kind: diagnosed(folder / kind, **plant())[0] for kind, plant in WINDOW_FAULTS.items()}


def allowed(entry: Entry, overrides: Sequence[str]) -> DictConfig:
    """The configuration, if its command would take it."""
    config = compose(entry, list(overrides))
    if entry == "train":
        schema.check(config, groups=train.GROUPS)
    elif entry == "convert":
        schema.checked_options(config, convert.OPTIONS)
        convert.check_nodes(config)
    return config


def all_allowed(given: Sequence[str], proposals: Iterable[Proposal]) -> set[str]:
    """Compose proposals, as many at once as have no key in common; returns the kinds of findings."""
    together: dict[Entry, list[dict[str, str]]] = {}
    kinds = set()
    for kind, entry, overrides in proposals:
        kinds.add(str(kind))
        keyed = {override.partition("=")[0]: override for override in overrides}
        batches = together.setdefault(entry, [])
        free = next((batch for batch in batches if not keyed.keys() & batch.keys()), None)
        if free is None:
            batches.append(free := {})
        free |= keyed
    for entry, batches in together.items():
        for batch in batches:
            allowed(entry, [*(given if entry == "train" else ()), *batch.values()])
    return kinds


def of_data(name: str, found: dict[Kind, Finding]) -> Iterator[Proposal]:
    """What is proposed for labels and windows of a data set."""
    dataset: Any = {
        "recording": SingleRecording(events="a.csv", classes=["car"], train_until_us=1_000_000),
        "converted": ConvertedSet(root="set"),
        "synthetic": SyntheticDataset(root="set"),
    }.get(name)
    origin: Origin = "files" if dataset is None else origin_of(dataset)
    for kind, finding in found.items():
        if kind == "hot_pixels" and dataset is not None:
            mend = cool(dataset, 50)
            yield kind, mend.entry, mend.overrides
        else:
            yield kind, finding.entry, finding.overrides
    if name == "recording":
        yield "no_val_labels", "train", ("data.train_until_us=308000",)
    none = LabelCorrection()
    clock, offset = LabelCorrection(time_shift_us=-20_000), LabelCorrection(offset_px=(-14.0, 8.5))
    read = {label_kind: correction for label_kind, _, correction in readings(96, 96, none)}
    for label_kind, correction in {**read, "clock": clock, "offset": offset}.items():
        mend = corrected(origin, changes(correction, none))
        yield label_kind, mend.entry, mend.overrides  # type: ignore[misc]
    for unit in get_args(TimeUnit):
        mend = counted_in(origin, unit)
        yield "unit", mend.entry, mend.overrides
    if origin == "files":
        yield "refused", "train", ("data.dataset.train_labels.drop_invalid_boxes=true",)


def of_network(settings: Settings, detector: torch.nn.Module) -> Iterator[Proposal]:
    """What is proposed for a network."""
    yield "silent", "train", mends.livelier(detector, settings)
    yield "silent", "train", (f"optimizer.lr={settings.get('optimizer.lr') / 2:g}",)
    yield "saturated", "train", mends.calmer(detector, settings)
    yield "gradient", "train", mends.open_to_gradients(detector, settings)
    yield "gradient", "train", mends.untaught({"class": 0.0, "box": 0.0, "dfl": 0.0})
    yield "positives", "train", mends.more_positives(settings)
    yield "positives", "train", mends.more_positives(Settings())
    yield "learning_rate", "train", mends.another_optimizer(settings, REFERENCE_WORDS, REFERENCE_LR)
    yield "learning_rate", "train", mends.lower_peak(settings, settings.get("optimizer.lr"))
    yield "overfit", "train", mends.more_able(settings)
    for kind in ("loss_start", "not_finite"):
        yield kind, "train", ("model.pretrained=null",)  # type: ignore[misc]
    data = SimpleNamespace(classes=("car",), encoder=SimpleNamespace(channels=2))
    for encoder in ("voxel", "time_surface", "mixed_density"):
        made = OmegaConf.to_container(compose("train", [f"data/encoder={encoder}"]).data.encoder)
        state = {"classes": ["car", "light truck"], "in_channels": 8, "encoder": made}
        for finding in against_data(state, data):  # type: ignore[arg-type]
            yield finding.name, finding.entry, finding.overrides


def of_machine(settings: Settings) -> Iterator[Proposal]:
    for seconds, change in (
        (0.05, {"step_s": 0.08}),
        (0.05, {"step_s": 0.04, "workers": 3}),
        (0.0005, {"threads": 9999}),
    ):
        for found in checked(seconds, **change)[0]:
            yield found.name, found.entry, found.overrides
    yield "no_gpu", "train", ("trainer.device=cuda",)
    yield "batch", "train", smaller_batch(settings, 1)
    yield "batch", "train", ("trainer.gradient_checkpointing=true", "data.encoder.downsample=2")


@pytest.mark.parametrize("name", DATA)
def test_what_is_proposed_for_labels_and_windows_is_allowed(name: str, of_windows: dict[Kind, Finding]) -> None:
    kinds = all_allowed(DATA[name], of_data(name, of_windows))
    assert kinds >= {"unit", "clock", "scale", "sensor", "offset", "hot_pixels", "no_labels", "labels_buffer"}


@pytest.mark.parametrize("neuron", NEURONS)
def test_what_is_proposed_for_a_network_is_allowed_with_its_neuron(neuron: str) -> None:
    given = ("model=femto", f"model/neuron={neuron}", "scheduler=cyclic", "scheduler.max_lr=0.0015")
    config = allowed("train", given)
    detector = schema.build(config.model, num_classes=2, in_channels=2)
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    kinds = all_allowed(given, of_network(Settings(resolved), detector))
    assert kinds >= {"silent", "saturated", "gradient", "learning_rate"}
    mended = allowed("train", [*given, *mends.livelier(detector, Settings(resolved))])
    schema.build(mended.model, num_classes=2, in_channels=2)  # levels and neurons go together


def test_batches_of_windows_that_are_added_up_stay_so_when_they_become_smaller() -> None:
    given = ("data.batch_size=2", "trainer.accumulate_batches=4")
    resolved: Any = OmegaConf.to_container(allowed("train", given), resolve=True)
    overrides = smaller_batch(Settings(resolved), 1)
    trainer = schema.build(allowed("train", [*given, *overrides]).trainer)
    assert (trainer.nominal_batch, trainer.accumulate_batches) == (8, 1)


def test_every_kind_of_finding_is_here_with_what_it_proposes_and_in_the_guide(of_windows: dict[Kind, Finding]) -> None:
    config = allowed("train", ("model=femto",))
    detector = schema.build(config.model, num_classes=2, in_channels=2)
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    settings = Settings(resolved)
    of_the_machine = list(of_machine(settings))
    all_allowed((), of_the_machine)
    proposals = [*of_data("recording", of_windows), *of_network(settings, detector), *of_the_machine]
    assert {kind for kind, _, overrides in proposals if overrides} == set(get_args(Kind)) - BY_HAND
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "doctor.md").read_text(encoding="utf-8")
    assert [kind for kind in get_args(Kind) if f"`{kind}`" not in guide] == []


def test_an_override_that_changes_nothing_is_not_proposed() -> None:
    settings = Settings({"model": {"branch_scale": 0.2, "pretrained": None}, "data": {"cache": "ram"}})
    wanted = ("model.branch_scale=0.2", "model.pretrained=null", "data.cache=ram", "data.workers=2")
    assert settings.changed(*wanted) == ("data.workers=2",)
