"""What runs and on what: exported networks, other sensors, kept classes, embeddings; and labels that training reads."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import predict, train
from format_writers import write_evt2
from small_recording import drawn, same
from small_run import small_run

import spikeyolo
from spikeyolo.detections import DetectionTable
from spikeyolo.engine.checkpoints.restore import restore_detector
from spikeyolo.errors import ConfigError
from spikeyolo.export import described
from spikeyolo.model.inference import fold
from spikeyolo.model.inference.window import onnx_model
from spikeyolo.prediction.fitting import fitted
from spikeyolo.prediction.trained import load_trained
from spikeyolo.predictor import Predictor
from spikeyolo.tracking import ByteTrack, track_table
from spikeyolo.windows.encoders import HistogramEncoder

COMMON = ("device=cpu", "confidence=0.3")


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    best = small_run(folder, "data.time_steps=2")
    state = json.loads((best / "state.json").read_text())
    state["frame"] = {"sensor": [64, 64], "size": [32, 32]}
    (best / "state.json").write_text(json.dumps(state))
    (folder / "recording.raw").write_bytes(write_evt2(drawn()))
    (folder / "wide.raw").write_bytes(write_evt2(drawn(8000, size=(96, 64))))
    (folder / "tiny.raw").write_bytes(write_evt2(drawn(1000, size=(34, 34))))
    return folder


def run(cwd: Path, checkpoint: str, *overrides: str) -> tuple[DetectionTable, str]:
    ended = predict(f"checkpoint={checkpoint}", *COMMON, *overrides, cwd=cwd)
    assert ended.code == 0, ended.errors
    return DetectionTable.read(cwd / ended.output.splitlines()[-1]), ended.errors


@pytest.fixture(scope="module")
def exported(cwd: Path) -> str:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (spikeyolo[export] brings it)")
    detector, state = restore_detector(cwd / "run" / "checkpoints" / "best")
    frames = torch.zeros(2, 1, 2, 32, 32, dtype=torch.uint8)
    model = onnx_model(fold(detector), frames, optimize=False, description=described(state))  # in half an export's time
    (cwd / "best.onnx").write_bytes(model)
    return "best.onnx"


def test_an_exported_network_finds_what_the_checkpoint_finds_in_fresh_windows(cwd: Path, exported: str) -> None:
    found, said = run(cwd, exported, "source=recording.raw")
    expected, _ = run(cwd, "run/checkpoints/best", "source=recording.raw", "carry=false")
    same(found, expected, atol=1e-4)
    assert found.metadata["carry"] is False
    assert "predictions/best_recording_" in said
    in_python = spikeyolo.load(cwd / exported).predict(cwd / "recording.raw", confidence=0.3, iou=0.95)
    same(in_python[in_python.t_us < 2000], found[found.step == 1], atol=1e-6)


def test_what_runs_by_default_is_the_folded_network_and_finds_what_the_trained_one_finds(cwd: Path) -> None:
    best = "run/checkpoints/best"
    found, _ = run(cwd, best, "source=recording.raw")
    same(found, run(cwd, best, "source=recording.raw", "backend=torch", "fresh=true")[0])
    assert found.metadata["identity"]["runs"]["backend"] == "torch"
    detector, _ = restore_detector(cwd / best)
    trained = load_trained(cwd / best, device="cpu")
    as_trained = Predictor(replace(trained, window=detector, stream=detector.stream))
    options = {"confidence": 0.3, "iou": 0.95, "steps": "all"}
    same(found, as_trained.predict(cwd / "recording.raw", **options), atol=1e-4)


def test_weights_are_rounded_to_the_bits_that_were_asked_for(cwd: Path) -> None:
    best = cwd / "run" / "checkpoints" / "best"
    found, _ = run(cwd, "run/checkpoints/best", "source=recording.raw", "weight_bits=4", "carry=false", "steps=last")
    detector, _ = restore_detector(best)
    detector.quantise(4)
    rounded = replace(load_trained(best, device="cpu"), window=detector, stream=None)
    same(found, Predictor(rounded).predict(cwd / "recording.raw", confidence=0.3, iou=0.95), atol=1e-4)
    in_python = spikeyolo.load(best, weight_bits=4).predict(cwd / "recording.raw", confidence=0.3, iou=0.95)
    same(found, in_python, atol=1e-6)
    floating = spikeyolo.load(best).predict(cwd / "recording.raw", confidence=0.3, iou=0.95)
    assert not np.array_equal(floating.score, found.score)


def test_what_an_exported_network_cannot_do_is_said_in_a_sentence(cwd: Path, exported: str) -> None:
    for overrides, sentence in (
        (["carry=true"], "carry: found true, but what runs the network starts every window afresh"),
        (["time_steps=8"], "time_steps: found 8; expected 2"),
        (["device=cuda"], "device: found cuda; an ONNX file runs on the CPU"),
        (["weight_bits=8"], "weight_bits: found 8 with best.onnx, whose weights are those of its export"),
        (["backend=torch"], "backend: found torch; an ONNX file runs in onnxruntime or openvino"),
        (["source=wide.raw"], "the exported network takes 32x32: expected fit=scale"),
    ):
        ended = predict(f"checkpoint={exported}", "source=recording.raw", "out=wrong", *overrides, cwd=cwd)
        assert ended.code == 2
        assert sentence in ended.error_lines[0]
    (cwd / "damaged.onnx").write_bytes((cwd / exported).read_bytes()[:1000])
    ended = predict("checkpoint=damaged.onnx", "source=recording.raw", cwd=cwd)
    assert "damaged.onnx: " in ended.error_lines[0]
    assert not (cwd / "wrong").exists()


def test_a_sensor_of_another_size_is_padded_scaled_or_refused_and_that_is_said(cwd: Path, exported: str) -> None:
    best = "run/checkpoints/best"
    padded, said = run(cwd, best, "source=wide.raw")
    assert "a sensor of 96x64 px, where the training's had 64x64: every pixel stays one (fit=pad)" in said
    assert padded.xyxy[:, 2].max() > 64
    scaled, said = run(cwd, best, "source=wide.raw", "fit=scale")
    assert "scaled by 0.667 into a frame of 32x32 (fit=scale)" in said
    assert 64 < scaled.xyxy[:, 2].max() <= 96
    assert scaled.metadata["ended"]["wide"]["frame"] == [32, 32]
    same(
        run(cwd, exported, "source=wide.raw", "fit=scale")[0],
        run(cwd, best, "source=wide.raw", "fit=scale", "carry=false")[0],
        atol=1e-3,
    )
    ended = predict(f"checkpoint={best}", "source=wide.raw", "fit=refuse", "out=refused", cwd=cwd)
    assert "fit=refuse: found a sensor of 96x64 px, where the training's had 64x64" in ended.error_lines[0]
    assert not (cwd / "refused").exists()
    tiny, said = run(cwd, best, "source=tiny.raw")
    assert "padded to a frame of 32x32" in said
    assert tiny.xyxy.max() <= 34
    assert (tiny.xywh[:, 2:] > 0).all()


@pytest.mark.parametrize("sensor", [(304, 240), (1280, 720), (33, 500), (640, 480)])
@pytest.mark.parametrize("downsample", [1, 2, 3])
def test_a_scaled_sensor_lies_in_the_frame_and_boxes_come_back(sensor: tuple[int, int], downsample: int) -> None:
    encoder = HistogramEncoder(downsample=downsample)
    fit = fitted(encoder, sensor, trained=(346, 260), fixed=None, fit="scale")
    assert fit.frame == encoder.frame_size(346, 260)
    corners = np.array([[0, 0, *sensor]], np.float32)
    inside = fit.placement.boxes(corners)
    assert (inside[0, 2:] <= np.array(fit.used) + 1).all()
    np.testing.assert_allclose(fit.placement.to_sensor(inside, *sensor), corners, rtol=1e-4)
    with pytest.raises(ConfigError, match="does not tell its sensor"):
        fitted(encoder, (20, 20), trained=None, fixed=None, fit="scale")


def test_a_larger_sensor_is_encoded_as_the_training_decided() -> None:
    encoder = HistogramEncoder(downsample="auto")
    assert fitted(encoder, (1280, 720), trained=(304, 240), fixed=None, fit="pad").frame == (1280, 720)
    assert fitted(encoder, (304, 240), trained=(1280, 720), fixed=None, fit="pad").frame == (152, 120)
    assert fitted(encoder, (1280, 720), trained=None, fixed=None, fit="pad").frame == (640, 360)


def test_only_classes_that_are_asked_for_are_kept(cwd: Path) -> None:
    every, _ = run(cwd, "run/checkpoints/best", "source=recording.raw", "confidence=0.01")
    some, _ = run(cwd, "run/checkpoints/best", "source=recording.raw", "confidence=0.01", "classes=[cross]")
    assert some.classes == every.classes
    assert set(some.class_id.tolist()) == {2} < set(every.class_id.tolist())


def test_embeddings_are_in_the_table_and_survive_parts_and_tracks(tmp_path: Path) -> None:
    small_run(tmp_path, "model.embedding=8")
    (tmp_path / "recording.raw").write_bytes(write_evt2(drawn()))
    found, _ = run(tmp_path, "run/checkpoints/best", "source=recording.raw", "track=true")
    assert found.embedding is not None
    np.testing.assert_allclose(np.linalg.norm(found.embedding, axis=1), 1, atol=1e-5)
    assert found.metadata["tracker"]["_target_"].endswith("ByteTrack")


def test_track_true_gives_the_ids_that_tracking_the_table_gives(cwd: Path) -> None:
    common = ("run/checkpoints/best", "source=recording.raw")
    tracker = {"low_score": 0.05, "high_score": 0.1, "new_score": 0.1, "confirm_us": 300}
    settings = [f"tracker.{key}={value}" for key, value in tracker.items()]
    tracked, said = run(cwd, *common, "track=true", *settings, "out=tracked")
    plain, _ = run(cwd, *common, "out=plain")
    expected = track_table(plain, ByteTrack(**tracker), step_us=tracked.metadata["slice_duration_us"])
    numbers = set(tracked.track_id.tolist()) - {-1}
    assert numbers
    assert f"detections in {len(numbers)} tracks;" in said
    same(tracked, expected)  # ids too


def test_labels_of_a_prediction_are_what_training_reads(cwd: Path, tmp_path: Path) -> None:
    shutil.copy(cwd / "recording.raw", tmp_path / "recording.raw")
    best = cwd / "run" / "checkpoints" / "best"
    found, _ = run(tmp_path, str(best), "source=recording.raw", "save=[labels]", "min_score=0.4", "out=out")
    labels = tmp_path / "out" / "labels" / "recording.csv"
    lines = labels.read_text().splitlines()
    kept = found[(found.score >= 0.4) & ((found.step == 1) | (found.t_us == 1900))]
    assert len(lines) - 1 == len(kept) > 0
    assert {line.split(",")[5] for line in lines[1:]} == {found.classes[k] for k in kept.class_id}
    ended = train(
        "data=recording",
        "data.events=recording.raw",
        f"data.labels={labels}",
        "data.classes=[disc,triangle,cross]",
        "data.train_until_us=1300",
        "data.slice_duration_us=100",
        "data.time_steps=4",
        "data.encoder.downsample=2",
        "model=pico",
        "logger=none",
        "trainer.max_epochs=1",
        "trainer.threads=1",
        "data.batch_size=4",
        cwd=tmp_path,
    )
    assert ended.code == 0, ended.errors
    metrics = next(tmp_path.glob("outputs/*/*/metrics.json"))
    assert np.isfinite(json.loads(metrics.read_text())["val/map50"])
