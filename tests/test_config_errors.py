"""A mistake on the command line ends in one line that says which key, what was found and what was expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from command_line import train, train_process

MISTAKES = {
    "misspelt key": ("trainer.max_epoch=3", r"trainer.max_epoch: .*did you mean trainer.max_epochs\?"),
    "misspelt key of a nested node": ("data.encoder.downsampel=2", r"data.encoder.downsampel: .*encoder.downsample\?"),
    "key added with a plus": ("+trainer.max_epoch=3", r"trainer.max_epoch: Trainer has no such .*trainer.max_epochs\?"),
    "a key without its group": ("lr=0.1", r"lr: .*did you mean optimizer.lr\?"),
    "a name of another project": ("optimizer.learning_rate=1", r"did you mean optimizer.lr\?"),
    "another project's epochs": ("epochs=3", r"epochs: .*did you mean trainer.max_epochs\?"),
    "a key deep in a group": ("train_sequences=3", r"did you mean data.dataset.train_sequences\?"),
    "an added key that nothing reads": ("+lr=0.1", r"lr: there is no such key .*did you mean optimizer.lr\?"),
    "an added group that nothing reads": ("+tracker.kind=1", r"tracker: there is no such key"),
    "misspelt group": ("optimizr=sgd", r"optimizr: .*did you mean optimizer\?"),
    "misspelt option": (
        "optimizer=adamv",
        r"optimizer: found 'adamv'; expected adam, adamw, muon, .*; did you mean adamw?\?",
    ),
    "misspelt option of a nested group": ("model/neuron=ilf", r"model/neuron: found 'ilf'; expected ilif, .*ilif\?"),
    "misspelt experiment": ("+experiment=highfrec", r"experiment: found 'highfrec'; .*did you mean highfreq\?"),
    "text for a number": ("trainer.max_epochs=many", r"trainer.max_epochs: found 'many'; expected a valid integer"),
    "text for a fraction": ("optimizer.lr=fast", r"optimizer.lr: found 'fast'; expected a number$"),
    "a group's option as a value": ("model.neuron=relu", r"found 'relu'; expected model/neuron=relu, with a slash"),
    "no option of a group as a value": (
        "data.encoder=voxl",
        r"expected data/encoder=OPTION, .* one of binary, .*voxel",
    ),
    "a search's key without a search": (
        "hydra.sweeper.n_trials=4",
        r"hydra.sweeper.n_trials: belongs to a search, .*; expected -m and \+search=NAME",
    ),
    "a number in quotes": ("optimizer.lr='0.1'", r"optimizer.lr: found '0.1'; expected a number"),
    "a fraction for a count": ("data.slice_duration_us=1.5", r"data.slice_duration_us: found 1.5; .*integer"),
    "a truth value for a number": ("data.batch_size=true", r"data.batch_size: found True; expected an integer"),
    "a number for a truth value": ("debug=7", r"debug: found 7; expected a valid boolean"),
    "null for a number": ("data.batch_size=null", r"data.batch_size: found None; expected a valid integer"),
    "one name for a list": ("data.classes=disc", r"data.classes: found 'disc'; expected a list"),
    "no class at all": ("data.classes=[]", r"data.classes: found an empty list; expected the class names"),
    "a class twice": ("data.classes=[disc,disc]", r"data.classes: disc stands twice; expected every name once"),
    "a class the simulator has not": ("data.classes=[disc,car]", r"data.classes .*'car'.*; expected .* cross, ring"),
    "too small": ("trainer.max_epochs=0", r"trainer.max_epochs: found 0; expected greater than or equal to 1"),
    "too large": ("data.overlap=1", r"data.overlap: found 1; expected less than 1"),
    "negative seed": ("seed=-1", r"seed: found -1; expected greater than or equal to 0"),
    "endless seed": ("seed=9999999999999999999999", r"seed: found 9{22}; expected less than"),
    "not a number": ("optimizer.lr=nan", r"optimizer.lr: found nan; expected a finite number"),
    "no such choice": (
        "loss.classification=mse",
        r"loss.classification: found 'mse'; expected 'focal', 'varifocal' or 'bce'",
    ),
    "pruning beyond the last epoch": (
        "+pruning=channels trainer.max_epochs=9",
        r"trainer.callbacks.channels.last_epoch: found 10; expected at most trainer.max_epochs, which is 9",
    ),
    "a negative weight of a class": (
        "loss.class_weights={disc:-1}",
        r"loss.class_weights: found \{'disc': -1\}; expected greater than or equal to 0",
    ),
    "neither of two kinds of value": (
        "loss.class_weights=rare",
        r"loss.class_weights: found 'rare'; expected 'inverse_frequency' or 'effective_number', or a valid",
    ),
    "a weight of no class": ("loss.class_weights={bike:2}", r"loss.class_weights: found bike, .*; expected disc, tri"),
    "no such part": (
        "trainer.freeze=[tail]",
        r"trainer.freeze: found \['tail'\]; expected 'backbone', 'neck' or 'head'",
    ),
    "parts frozen at random weights": (
        "trainer.freeze=[backbone]",
        r"trainer.freeze: found backbone without model.pretrained; .* expected model.pretrained=FILE",
    ),
    "a rate of no part": ("trainer.lr_factors.tail=2", r"trainer.lr_factors.tail: there is no such key"),
    "a part that stands still": ("trainer.lr_factors.head=0", r"trainer.lr_factors: found .*greater than 0"),
    "two sizes of an update": (
        "trainer.nominal_batch=64 trainer.accumulate_batches=2",
        r"trainer.nominal_batch: found 64 beside trainer.accumulate_batches=2",
    ),
    "no such device": ("trainer.device=gpu", r"trainer.device: found 'gpu'; expected auto, cpu, cuda or cuda:N"),
    "mandatory value missing": ("data=etram", r"data.root must be given: add data.root=VALUE"),
    "mandatory value others refer to missing": ("+experiment=real_cars", r"data.root must be given: add data.root=V"),
    "unknown target": ("loss._target_=spikeyolo.loss.No", r"loss._target_: 'spikeyolo.loss.No' cannot be imported"),
    "unknown module": ("loss._target_=nowhere.No", r"loss._target_: 'nowhere.No' cannot be imported"),
    "a value for an object": ("+trainer.clock=5", r"trainer.clock: found 5; expected a node with a _target_"),
    "a group taken away": ("~trainer", r"trainer: nothing is chosen; expected trainer=OPTION"),
    "null for a group": ("trainer=null", r"a group's choice is not a name .*; expected GROUP=OPTION"),
    "milestones that descend": ("scheduler=step scheduler.milestones=[0.8,0.2]", r"scheduler.milestones: found \[0.8"),
    "groups that contradict each other": (
        "scheduler=cyclic scheduler.max_lr=1e-5",
        r"scheduler.max_lr: found 1e-05; expected at least optimizer.lr, which is 0.001",
    ),
    "values of a group that contradict each other": ("augment.zoom_min=3", r"augment.zoom_min: found 3; .*zoom_max"),
    "no equals sign": ("trainer.max_epochs", r"trainer.max_epochs: cannot be read .*; expected KEY=VALUE"),
    "a bracket left open": ("data.classes=[car,bus", r"data.classes=\[car,bus: cannot be read .*a list as \[a,b\]"),
    "several values": (
        "optimizer.lr=0.1,0.2",
        r"optimizer.lr: found several values; .*\[0.1,0.2\], or -m",
    ),
    "an experiment without its plus": ("experiment=smoke", r"experiment: nothing .*; expected \+experiment=OPTION"),
    "a runtime that has no such precision": (
        "inference.backend=onnxruntime inference.precision=bfloat16",
        r"backend=onnxruntime runs in float32, found precision=bfloat16; expected openvino",
    ),
    "no such figure": ("trainer.select_by=map5", r"trainer.select_by: found 'map5', .*; did you mean map75\?"),
    "a class that the list has not, to select by": (
        "trainer.select_by=ap50/crss",
        r"trainer.select_by: .*ap50/cross\?",
    ),
    "a class that the list has not": ("objective=val/ap50/crss", r"objective: .*; did you mean val/ap50/cross\?"),
    "a cost that is never measured": ("objective=energy/windw_mj", r"objective: .*did you mean energy/window_mj\?"),
    "one of two objectives": ("objective=[val/map,last/val/mpa]", r"objective: found 'last/val/mpa', .*last/val/map\?"),
    "a bound on no figure": (
        "hydra/sweeper=optuna hydra.sweeper.constraints={speed/windows_ms:1}",
        r"hydra.sweeper.constraints: found 'speed/windows_ms', .*did you mean speed/window_ms\?",
    ),
    "sizes that contradict each other": ("data.dataset.size_min_px=50", r"data.dataset.size_min_px: found 50; .*36.0"),
    "a folder that cannot be made": ("hydra.run.dir=/dev/null/run", r"/dev/null/run: cannot be made or written"),
    "nothing to go on from": ("trainer.resume=nowhere", r"nowhere: no checkpoint here .*; expected a folder such as"),
    "no recordings": ("data=etram data.root=nowhere", r"nowhere: no such folder; expected one that holds train or"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_ends_in_one_line_before_anything_is_made(kind: str, tmp_path: Path) -> None:
    overrides, expected = MISTAKES[kind]
    ended = train("logger=none", "data.store=data", *overrides.split(), cwd=tmp_path)
    assert ended.code == 2
    assert not (tmp_path / "data").exists()
    lines = ended.errors.splitlines()
    assert len(lines) == 1, ended.errors
    assert lines[0].startswith("error: ")
    assert re.search(expected, lines[0]), lines[0]


def test_in_a_process_of_its_own_a_mistake_is_one_line_too(tmp_path: Path) -> None:
    ended = train_process("+experiment=smoke", "trainer.max_epoch=3", cwd=tmp_path)
    assert ended.code == 2
    sentence = "trainer.max_epoch: there is no such key in the configuration; did you mean trainer.max_epochs?"
    assert ended.errors == f"error: {sentence}\n"
    assert list(tmp_path.iterdir()) == []


def test_the_log_of_the_run_holds_the_error_too(tmp_path: Path) -> None:
    train("logger=none", "trainer.max_epochs=0", cwd=tmp_path)
    (log,) = tmp_path.glob("outputs/*/*/training_*.log")
    assert "error: trainer.max_epochs: found 0" in log.read_text()


def test_debug_prints_the_trace_of_an_error(tmp_path: Path) -> None:
    ended = train("logger=none", "trainer.max_epochs=0", "debug=true", cwd=tmp_path)
    assert ended.code == 2
    assert "Traceback" in ended.errors
    assert len(ended.error_lines) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_on_a_machine_without_it_says_what_torch_sees(tmp_path: Path) -> None:
    ended = train("logger=none", "trainer.device=cuda", cwd=tmp_path)
    assert ended.code == 2
    (line,) = ended.errors.splitlines()
    assert "trainer.device: found 'cuda', but torch" in line
    assert line.endswith("expected trainer.device=cpu or auto")


def test_a_tracking_server_that_cannot_be_reached_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    ended = train("logger.tracking_uri=http://127.0.0.1:9", "data.store=data", cwd=tmp_path)
    assert ended.code == 2
    (line,) = ended.errors.splitlines()
    assert line.startswith("error: http://127.0.0.1:9: the tracking server cannot be reached")
    assert line.endswith("or train with logger=none")
    assert not (tmp_path / "data").exists()
