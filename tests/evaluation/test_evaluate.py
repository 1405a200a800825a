"""A checkpoint on a split: its table is what training's evaluator finds, truth scores 1.0, mistakes are sentences."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import etram_set
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from command_line import Ended, evaluate
from omegaconf import OmegaConf
from small_run import small_run

from spikeyolo import schema
from spikeyolo.detections import DetectionTable
from spikeyolo.engine.checkpoints import restore
from spikeyolo.engine.evaluator import DetectionEvaluator

QUICK = ("checkpoint=run/checkpoints/best", "split=val", "costs=false", "device=cpu", "threads=1")


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run was started, and its validation split was evaluated on the windows of training."""
    folder = tmp_path_factory.mktemp("evaluated")
    small_run(folder, "model.embedding=8")
    ended = evaluate(*QUICK, "windows=as_trained", "pixels=frame", "out=trained", cwd=folder)
    assert ended.code == 0, ended.errors
    return folder


def table(path: Path) -> DetectionTable:
    return DetectionTable.read(path)


def scores(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "scores.json").read_text())
    return found


def said(ended: Ended) -> str:
    assert ended.code == 2, ended.errors
    (line,) = ended.error_lines
    return line


def test_the_table_and_the_figures_are_those_of_training_itself(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cwd)
    config = OmegaConf.load("run/.hydra/config.yaml")
    data = schema.build(config.data)
    detector, _ = restore.restore_detector(Path("run/checkpoints/best"))
    evaluator: DetectionEvaluator = schema.build(config.evaluator, classes=data.classes)
    loader, cpu = data.val_loader(), torch.device("cpu")
    own = [
        (loader.dataset.parts[window.recording].name.removesuffix(".zarr"), window.end_us, found)
        for batch, _, every in evaluator.detections(detector, loader.epoch(0), device=cpu)
        for window, found in zip(batch.windows, every, strict=True)
    ]
    found = table(cwd / "trained" / "detections.parquet")
    assert len({score for _, _, one in own for score in one.score.tolist()}) > 10
    for name, end_us, one in own:
        rows = found[(found.recording == found.recordings.index(name)) & (found.t_us == end_us) & (found.step == 3)]
        np.testing.assert_array_equal(rows.score, one.score)
        np.testing.assert_array_equal(rows.class_id, one.class_id)
        np.testing.assert_allclose(rows.xyxy, 2 * one.xyxy, atol=1e-4)  # the sensor has twice the frame's pixels
        assert rows.embedding is not None
        assert one.embedding is not None
        assert rows.embedding.shape[1] == 8
        np.testing.assert_array_equal(rows.embedding, one.embedding)
    expected = evaluator.evaluate(detector, loader.epoch(0), device=cpu)
    figures = scores(cwd / "trained" / "coco")["figures"]
    for name in ("map", "map50", "map75", "map_small", "recall", "precision", "f1", "f1_confidence", "detections"):
        assert figures[name] == pytest.approx(expected[name], abs=1e-9, nan_ok=True), name


def test_truth_as_detections_scores_one_at_every_step(cwd: Path) -> None:
    ended = evaluate("detections=trained/truth.parquet", "truth=trained/truth.parquet", "out=perfect", cwd=cwd)
    assert ended.code == 0, ended.errors
    found = scores(cwd / "perfect" / "coco")
    for name in ("map", "map50", "map75", "recall", "f1", "step/0/map", "step/3/map50"):
        assert found["figures"][name] == pytest.approx(1.0, abs=1e-9), name
    assert found["figures"]["error/missed"] == pytest.approx(0.0, abs=1e-9)
    assert not found["costs"]


@pytest.mark.usefixtures("undrawn")
def test_what_is_unchanged_is_found_again(cwd: Path) -> None:
    detections = shutil.copytree(cwd / "trained", cwd / "again") / "detections.parquet"
    as_trained = table(detections)
    for changes, found in (
        ((), True),
        (("fresh=true",), False),
        (("weight_bits=4",), False),
        (("confidence=0.2",), False),
    ):
        before = detections.stat().st_mtime_ns
        ended = evaluate(*QUICK, "windows=as_trained", "out=again", *changes, cwd=cwd)
        assert ended.code == 0, ended.errors
        assert ("unchanged" in ended.errors) is found
        assert (detections.stat().st_mtime_ns == before) is found
        if changes == ("weight_bits=4",):
            assert not np.array_equal(table(detections).score, as_trained.score)
    assert table(detections).score.min() > 0.2


def test_a_changed_weight_makes_another_table(cwd: Path, tmp_path: Path) -> None:
    from spikeyolo.evaluation.tables.identity import checkpoint_digest

    other = small_run(tmp_path, "model.neuron.levels=3")
    assert checkpoint_digest(other) != checkpoint_digest(cwd / "run" / "checkpoints" / "best")
    moved = shutil.copytree(cwd / "run" / "checkpoints" / "best", tmp_path / "copy")
    assert checkpoint_digest(moved) == checkpoint_digest(cwd / "run" / "checkpoints" / "best")


@pytest.mark.usefixtures("undrawn")
def test_every_label_time_is_scored_where_training_took_a_few(cwd: Path) -> None:
    ended = evaluate(
        *QUICK, "data.negative_share=0", "steps=scored", "save=[coco,prophesee,mot]", "embeddings=false", cwd=cwd
    )
    assert ended.code == 0, ended.errors
    (folder,) = (cwd / "run" / "evaluation").glob("best_val_*")
    true = table(folder / "truth.parquet")
    few = table(cwd / "trained" / "truth.parquet")
    looks = true.metadata["looks"]
    assert sum(map(len, looks.values())) > sum(map(len, few.metadata["looks"].values()))
    assert set(table(folder / "detections.parquet").step.tolist()) == {3}
    metadata = table(folder / "detections.parquet").metadata
    assert metadata["identity"]["split"] == "val"
    assert table(folder / "detections.parquet").embedding is None
    assert metadata["windows"].startswith("a window before each label time")
    assert (folder / "detections.json").is_file()
    assert list((folder / "prophesee").iterdir())
    assert list((folder / "mot").rglob("*.txt"))


@pytest.mark.usefixtures("undrawn")
def test_a_carried_state_is_that_of_one_long_stream(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = evaluate(*QUICK, "windows=every", "carry=true", "out=carried", cwd=cwd)
    assert ended.code == 0, ended.errors
    monkeypatch.chdir(cwd)
    data = schema.build(OmegaConf.load("run/.hydra/config.yaml").data)
    detector, _ = restore.restore_detector(Path("run/checkpoints/best"))
    part = data.parts("val")[0]
    recording = part.recording
    steps = (part.end_us - part.start_us) // 100
    frames = np.empty((steps, 2, 32, 32), np.uint8)
    packed = recording.packed(part.start_us, part.end_us)
    data.encoder.encode(packed, start_us=part.start_us, slice_us=100, out=frames)
    with torch.inference_mode():
        predictions, _ = detector.stream(torch.from_numpy(frames)[:, None])
    best = predictions.class_logits[:, 0].sigmoid().flatten(1).amax(1).numpy()
    found = table(cwd / "carried" / "detections.parquet")
    rows = found[found.recording == found.recordings.index(part.name.removesuffix(".zarr"))]
    for step in (0, 5, steps - 1):
        score = rows.score[rows.t_us == part.start_us + 100 * (step + 1)].max()
        assert score == pytest.approx(best[step], abs=1e-5)
    true = table(cwd / "carried" / "truth.parquet")
    assert "the state carried from step to step" in true.metadata["windows"]
    label_steps = {(time - part.start_us) // 100 for time in np.unique(part.inside.t).tolist()} - {0}
    looks = true.metadata["looks"][part.name.removesuffix(".zarr")]
    assert label_steps <= {(time - part.start_us) // 100 for time in looks}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "windows",
    [
        ("windows=every",),
        ("windows=every", "carry=true"),
        ("windows=around_labels", "data.slice_duration_us=500"),  # windows of 2 ms, a label every 1 ms: they overlap
    ],
    ids=["every", "carried", "overlapping"],
)
def test_accuracy_after_each_step_is_known_whatever_the_windows(cwd: Path, windows: tuple[str, ...]) -> None:
    made, again = cwd / "steps", cwd / "steps_again"
    ended = evaluate(*QUICK, *windows, "out=steps", "max_detections=5", cwd=cwd)
    assert ended.code == 0, ended.errors
    found = scores(made / "coco")
    looks = [found["scores"]["per_step"][str(step)]["looks"] for step in range(4)]
    assert min(looks) > 0
    assert (made / "coco" / "figures" / "steps.csv").read_text().count("\n") == 5
    ended = evaluate("detections=steps/truth.parquet", "truth=steps/truth.parquet", "out=steps_again", cwd=cwd)
    assert ended.code == 0, ended.errors
    figures = scores(again / "coco")["figures"]
    assert [figures[name] for name in ("map", "step/0/map", "step/1/map", "step/3/map")] == pytest.approx([1.0] * 4)
    true = table(made / "truth.parquet")
    if "carry=true" in windows:  # each time is the end of one step
        assert len(np.unique(np.column_stack((true.recording, true.t_us, true.track_id)), axis=0)) == len(true)


def test_the_page_needs_no_network_and_says_how_to_repeat_it(cwd: Path) -> None:
    page = (cwd / "trained" / "coco" / "evaluation.html").read_text()
    assert not re.search(r"https?://(?!cocodataset)", page)
    assert not re.search(r"<(script|link rel=.stylesheet)", page)
    sources = re.findall(r'src="([^"]{0,30})', page)
    assert len(sources) >= 7
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "prefers-color-scheme: dark" in page
    assert "python -m spikeyolo.evaluate checkpoint=run/checkpoints/best split=val" in page
    figures = cwd / "trained" / "coco" / "figures"
    names = {path.name for path in figures.iterdir()}
    assert {"worst_windows.png", "steps.png", "steps.csv", "properties.csv", "threshold.csv"} <= names
    header, *rows = (figures / "classes.csv").read_text().splitlines()
    assert header == "class,ap,ap50,recall,truths"
    assert [row.split(",")[0] for row in rows] == ["disc", "triangle", "cross"]
    assert (figures / "confusion.csv").read_text().startswith("true,disc,triangle,cross,missed\ndisc,")
    assert len((figures / "precision_recall.csv").read_text().splitlines()) == 102
    assert len((figures / "recordings.csv").read_text().splitlines()) == 3


@pytest.mark.usefixtures("undrawn")
def test_several_splits_are_scored_one_behind_the_other(cwd: Path) -> None:
    ended = evaluate(
        "split=[val,test]",
        *QUICK[:1],
        *QUICK[2:],
        "data.dataset.test_sequences=1",
        "max_detections=5",
        "out=both",
        cwd=cwd,
    )
    assert ended.code == 0, ended.errors
    val, test = (table(cwd / "both" / split / "truth.parquet") for split in ("val", "test"))
    assert [len(true.metadata["recordings"]) for true in (val, test)] == [2, 1]
    assert val.metadata["identity"]["data"] != test.metadata["identity"]["data"]
    for split in ("val", "test"):
        assert scores(cwd / "both" / split / "coco")["split"] == split
        assert f"\n{split}: a window before each label time" in "\n" + ended.output
    assert "val: the best epoch was chosen on these recordings; split=test is the better judge" in ended.errors
    assert "test: the best epoch" not in ended.errors


def test_a_split_that_does_not_exist_is_said_before_the_others_are_scored(cwd: Path, tmp_path: Path) -> None:
    events, boxes = etram_set.film(0)
    etram_set.write_events(tmp_path / "set" / "val" / "a.h5", events)
    np.save(tmp_path / "set" / "val" / "a_bbox.npy", etram_set.label_rows(boxes))
    other = ("data=folders", f"data.root={tmp_path}/set", "data.classes=[disc,triangle,cross]", "split=[val,test]")
    ended = evaluate(*QUICK[:1], *QUICK[2:], *other, f"data.store={tmp_path}/store", f"out={tmp_path}/out", cwd=cwd)
    assert "no recordings of split 'test'" in said(ended)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


@pytest.mark.usefixtures("undrawn")
def test_a_network_is_not_tested_on_what_it_was_trained_on(cwd: Path, tmp_path: Path) -> None:
    ended = evaluate(*QUICK[:1], *QUICK[2:], "split=train", "steps=scored", "windows=as_trained", "out=seen", cwd=cwd)
    assert ended.code == 0, ended.errors
    assert "train: the network was trained on these recordings" in ended.errors
    copied = shutil.copytree(cwd / "run" / "checkpoints" / "best", tmp_path / "best")
    state = json.loads((copied / "state.json").read_text())
    state["recordings"]["train"] += state["recordings"]["val"][:1]
    (copied / "state.json").write_text(json.dumps(state))
    ended = evaluate(f"checkpoint={copied}", *QUICK[1:], f"out={tmp_path}/out", cwd=cwd)
    assert re.search(r"of val holds the same events as .*, on which the checkpoint was trained; expected", said(ended))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "backend",
    ["torch", *(pytest.param(name, marks=pytest.mark.slow) for name in ("compile", "onnxruntime", "openvino"))],
)
@pytest.mark.long
def test_every_backend_makes_the_table_that_the_network_itself_makes(
    cwd: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[object] = []
    if backend == "compile":  # inductor takes minutes

        def compiler(module: torch.nn.Module) -> object:
            compiled.append(whole := real(module, backend="eager"))
            return whole

        real = torch.compile
        monkeypatch.setattr(torch, "compile", compiler)
    else:
        pytest.importorskip(backend)
    single = ("windows=as_trained", "data.time_steps=1", "data.batch_size=2")  # the quickest program to build
    for arguments in (("out=itself",), (f"backend={backend}", f"out={backend}")):
        ended = evaluate(*QUICK, *single, *arguments, cwd=cwd)
        assert ended.code == 0, ended.errors
    own, found = table(cwd / "itself" / "detections.parquet"), table(cwd / backend / "detections.parquet")
    assert found.metadata["identity"]["detecting"]["backend"] == backend
    assert len(compiled) == (backend == "compile")

    def sure(one: DetectionTable) -> DetectionTable:
        kept = one[one.score > 0.05]  # at the threshold, rounding decides
        return kept[np.lexsort((kept.xywh[:, 0], kept.class_id, -kept.score.round(4), kept.t_us, kept.recording))]

    own, found = sure(own), sure(found)
    assert len(own) > 10
    np.testing.assert_allclose(found.score, own.score, atol=1e-4)
    np.testing.assert_allclose(found.xywh, own.xywh, atol=0.02)
    assert found.embedding is not None
    assert own.embedding is not None
    np.testing.assert_allclose(found.embedding, own.embedding, atol=1e-4)


def test_another_data_set_is_cut_and_encoded_as_the_network_was_trained(cwd: Path) -> None:
    other = ("data=synthetic", "data.store=data/other", "data.dataset.val_sequences=1", "data.dataset.duration_us=6000")
    sides = (
        "data.dataset.width=96",
        "data.dataset.height=64",
        "data.dataset.size_max_px=30",
        "data.max_samples_per_file=2",
    )
    ended = evaluate(*QUICK, *other, *sides, "data.slice_duration_us=200", "out=other", cwd=cwd)
    assert ended.code == 0, ended.errors
    made = table(cwd / "other" / "detections.parquet").metadata
    assert (made["time_steps"], made["slice_duration_us"]) == (4, 200)  # the run's, and the command line's
    assert (made["sensor"], made["frame"]) == ([96, 64], [48, 32])


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("split=tset",), r"split: found 'tset'; expected .*'test'"),
        (("split=[val,]x",), r"split"),
        (
            ("carry=true", "windows=around_labels"),
            r"carry: found true with windows=around_labels; expected windows=every",
        ),
        (("windows=every", "carry=true", "backend=onnxruntime"), r"backend: found onnxruntime, which carries no state"),
        (("protocol=prophesee_gen1",), r"protocol prophesee_gen1: scores the classes car, pedestrian; found disc"),
        (("protocol=coca",), r"protocol: found 'coca'; expected .*coco"),
        (("data.classes=[triangle,disc,cross]",), r"found \[triangle, disc, cross\]; expected .*\[disc, .* in order\)"),
        (("data.classes=[disc,cross]",), r"differ in number"),
        (("data.batch_sice=3",), r"data.batch_sice: there is no such key in the configuration; did you mean"),
        (("detections=x.parquet",), r"checkpoint, detections: found both"),
        (("precision=bfloat16",), r"precision: found bfloat16; expected a backend beside it"),
    ],
)
def test_mistakes_end_in_one_sentence(cwd: Path, overrides: tuple[str, ...], sentence: str) -> None:
    before = sorted(str(path) for path in cwd.rglob("*"))
    given = {override.partition("=")[0] for override in overrides}
    usual = (*QUICK, "out=trained", "windows=as_trained", "confidence=null")
    ended = evaluate(*(one for one in usual if one.partition("=")[0] not in given), *overrides, cwd=cwd)
    assert re.search(sentence, said(ended)), ended.errors
    assert sorted(str(path) for path in cwd.rglob("*")) == before


def test_tables_that_cannot_be_scored_are_refused(cwd: Path, tmp_path: Path) -> None:
    found = pq.read_table(cwd / "trained" / "detections.parquet")
    truth = cwd / "trained" / "truth.parquet"
    pq.write_table(found.drop_columns("score"), tmp_path / "scoreless.parquet")
    assert "has no column score" in said(
        evaluate(f"detections={tmp_path}/scoreless.parquet", f"truth={truth}", cwd=cwd)
    )
    strange = table(cwd / "trained" / "detections.parquet")
    strange = strange.__class__(**{**strange.__dict__, "recordings": ("elsewhere", *strange.recordings[1:])})
    strange.write(tmp_path / "strange.parquet")
    assert "elsewhere" in said(evaluate(f"detections={tmp_path}/strange.parquet", f"truth={truth}", cwd=cwd))
    assert "no such file" in said(evaluate("detections=nowhere.parquet", cwd=cwd))
    table(truth)[:0].write(tmp_path / "untrue.parquet")
    assert "no true box" in said(
        evaluate(f"detections={truth}", f"truth={tmp_path}/untrue.parquet", f"out={tmp_path}", cwd=cwd)
    )


def test_no_detections_at_all_are_a_result_of_zeros(cwd: Path, tmp_path: Path) -> None:
    table(cwd / "trained" / "detections.parquet")[:0].write(tmp_path / "none.parquet")
    truth = cwd / "trained" / "truth.parquet"
    ended = evaluate(f"detections={tmp_path}/none.parquet", f"truth={truth}", cwd=cwd)
    assert ended.code == 0, ended.errors
    figures = scores(tmp_path / "coco")["figures"]
    assert (figures["map"], figures["recall"], figures["f1"]) == (0.0, 0.0, 0.0)
    assert (tmp_path / "coco" / "evaluation.html").is_file()


@pytest.mark.usefixtures("undrawn")
def test_a_checkpoint_without_its_run_knows_its_data(cwd: Path) -> None:
    copied = shutil.copytree(cwd / "run" / "checkpoints" / "best", cwd / "copied" / "net")
    arguments = ("checkpoint=copied/net", "split=val", "costs=false", "windows=as_trained", "threads=1")
    ended = evaluate(*arguments, "data.max_samples_per_file=1", cwd=cwd)
    assert ended.code == 0, ended.errors
    assert list((copied.parent / "evaluation").glob("net_val_*/coco/scores.json"))
