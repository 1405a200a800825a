"""The doctor as a user starts it: exit codes, the page, no labels, a bucket, a checkpoint of other classes."""

from __future__ import annotations

import math
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import SMOKE, Ended, convert, doctor, train
from etram_set import CLASSES, write_set
from small_run import SMALL, small_run

from spikeyolo.diagnosis.command import doctor_command, word_on_the_doctor
from spikeyolo.windows.batch import Batch

SMALLEST = (*SMALL, "overfit_steps=0", "hydra.run.dir=diagnosis")


def names(ended: Ended) -> list[str]:
    return re.findall(r"^\d+\. (\w+) \(", ended.output, re.M)


def test_a_healthy_set_ends_with_zero_and_a_page_that_shows_what_was_looked_at(tmp_path: Path) -> None:
    ended = doctor(*SMALLEST, "data.classes=[disc]", cwd=tmp_path)
    assert (ended.code, names(ended)) == (0, []), ended.output + ended.errors
    assert ended.output.startswith("nothing found")
    assert "not told, network: whether windows are learnt by heart: overfit_steps=0 leaves that out" in ended.output
    page = (tmp_path / "diagnosis" / "doctor.html").read_text()
    for words in ("Nothing found", "labels against events", "windows", "network", "machine", "spikeyolo.doctor"):
        assert words in page
    pictures = {path.stem for path in (tmp_path / "diagnosis").glob("*.png")}
    assert pictures >= {"label_clock", "label_boxes", "events_a_slice", "box_sides", "network_layers"}
    assert page.count("data:image/png") == len(pictures)
    wide = re.findall(r'<figure class="broad"><img src="[^"]*" alt="([^"]*)"', page)
    assert wide == ["label boxes", "network layers"]  # four tiles side by side, a bar a layer


def test_findings_end_with_three_and_the_page_has_the_first_one_with_its_picture(tmp_path: Path) -> None:
    ended = doctor(*SMALLEST, "sections=[windows]", cwd=tmp_path)  # one recording of one shape
    assert ended.code == 3, ended.output + ended.errors
    assert "class_missing" in names(ended)
    assert "finding_class_missing" in {path.stem for path in (tmp_path / "diagnosis").glob("*.png")}


def test_slices_of_hardly_an_event_are_named_first_and_what_is_proposed_mends_them(tmp_path: Path) -> None:
    one = (*SMALLEST, "data.classes=[disc]", "sections=[windows]")
    ended = doctor(*one, "data.slice_duration_us=2", cwd=tmp_path)
    assert (ended.code, names(ended)) == (3, ["few_events"]), ended.output + ended.errors
    (override,) = re.findall(r"→ (data\.slice_duration_us=\d+)\n", ended.output)
    mended = doctor(*one, override, cwd=tmp_path)
    assert (mended.code, names(mended)) == (0, []), mended.output + mended.errors


def test_a_wrong_key_is_one_sentence(tmp_path: Path) -> None:
    ended = doctor(*SMALLEST, "sections=[labels,brain]", cwd=tmp_path)
    assert ended.code == 2
    assert len(ended.error_lines) == 1
    assert ended.error_lines[0].startswith("error: sections: found")


def test_of_a_checkpoint_the_data_are_its_runs_and_other_classes_are_a_finding(tmp_path: Path) -> None:
    checkpoint = small_run(tmp_path)
    options = ("overfit_steps=0", "sections=[network]", "hydra.run.dir=diagnosis")
    own = doctor(f"checkpoint={checkpoint}", *options, cwd=tmp_path)
    assert (own.code, names(own)) == (0, []), own.output + own.errors
    other = doctor(f"checkpoint={checkpoint}", *SMALL, "data.classes=[cross,disc]", *options, cwd=tmp_path)
    assert other.code == 3, other.errors
    assert names(other)[0] == "checkpoint_classes"
    assert "data.classes=[disc,triangle,cross]" in other.output


def test_a_checkpoint_whose_data_nothing_tells_is_one_sentence(tmp_path: Path) -> None:
    checkpoint = tmp_path / "copied"
    shutil.copytree(small_run(tmp_path), checkpoint)
    state = (checkpoint / "state.json").read_text().replace('"settings"', '"other"')
    (checkpoint / "state.json").write_text(state)
    ended = doctor(f"checkpoint={checkpoint}", cwd=tmp_path)
    assert ended.code == 2
    assert "nothing tells what the checkpoint was trained on" in ended.errors


def test_a_checkpoint_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    ended = doctor("checkpoint=nix", cwd=tmp_path)
    assert ended.code == 2
    assert ended.error_lines[-1].startswith("error: nix: no checkpoint here ")


def test_a_recording_without_labels_is_looked_at_as_far_as_it_goes(tmp_path: Path) -> None:
    events = "\n".join(f"{t},{t % 31},{t % 17},0" for t in range(0, 90_000, 10))
    (tmp_path / "a.csv").write_text(f"t,x,y,p\n{events}\n")
    one = ("data=recording", "data.events=a.csv", "data.classes=[car]", "data.train_until_us=50000")
    ended = doctor(*one, "data.size=[64,64]", "model=femto", "hydra.run.dir=diagnosis", cwd=tmp_path)
    assert ended.code == 3, ended.output + ended.errors
    assert names(ended) == ["no_labels", "no_windows", "polarity"]  # windows of 80 ms, OFF events only
    for words in ("there are no labels to hold against the events", "there is no window with a box to look at it with",
                  "no update was made"):  # fmt: skip
        assert words in ended.output
    page = (tmp_path / "diagnosis" / "doctor.html").read_text()
    for words in ("events a slice", "firing rate a layer", "windows made a second", "memory free"):
        assert words in page


def test_a_set_in_a_bucket_is_looked_at_from_there(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_set(tmp_path / "etram")
    classes = f"data.classes=[{','.join(CLASSES)}]"
    done = convert("data=etram", "data.root=etram", classes, f"out={bucket}/etram", "workers=1", cwd=tmp_path)
    assert done.code == 0, done.errors
    options = ("data.slice_duration_us=1000", "data.time_steps=2", "sections=[labels,windows]", "model=femto")
    ended = doctor("data=converted", f"data.root={bucket}/etram", classes, *options, cwd=tmp_path)
    assert (ended.code, names(ended)) == (3, ["class_missing"]), ended.output + ended.errors  # no pedestrian is filmed
    assert "→ data.classes=[car]\n" in ended.output
    assert "page: " in ended.output
    assert not (tmp_path / "s3:").exists()


def test_a_training_that_finds_nothing_points_to_the_doctor_with_a_command_that_runs(tmp_path: Path) -> None:
    own = tmp_path / "own conf" / "trainer"
    own.mkdir(parents=True)
    (own / "short.yaml").write_text("defaults: [default, _self_]\nmax_epochs: 1\n")
    given = ("--config-dir", "own conf", *(word for word in SMOKE if not word.startswith("trainer.")))
    options = (
        "trainer=short",
        "trainer.max_epochs=1",
        "trainer.threads=1",
        "optimizer.lr=1e-9",
        "scheduler=constant",
        "logger=none",
    )
    ended = train(*given, *options, "hydra.run.dir='a run, lr=1e-9'", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    (line,) = [line for line in ended.errors.splitlines() if "python -m spikeyolo.doctor" in line]
    assert "nothing is found" in line
    words = shlex.split(line.partition("python -m spikeyolo.doctor ")[2])
    ended = doctor(*words, "sections=[network]", "overfit_steps=0", "hydra.run.dir=diagnosis", cwd=tmp_path)
    assert (ended.code, names(ended)) == (3, ["silent"]), ended.output + ended.errors  # of norms that followed nothing
    assert "→ trainer.max_epochs=2\n" in ended.output
    page = (tmp_path / "diagnosis" / "doctor.html").read_text()
    assert "own conf" in page


def test_the_word_on_the_doctor_is_said_where_nothing_is_found_or_nothing_tells(tmp_path: Path) -> None:
    source = SimpleNamespace(provider="command-line", path="/my conf")
    others = [SimpleNamespace(provider="main", path="/conf"), source]
    checkpoint = Path("/runs/lr=0.1, 2/checkpoints/best")
    given = ["data.classes=[car,light truck]", "trainer.resume=old"]
    assert word_on_the_doctor(0.3, given, others, checkpoint=checkpoint) is None
    low = word_on_the_doctor(0.004, given, others, checkpoint=checkpoint)
    undefined = word_on_the_doctor(math.nan, given, others, checkpoint=checkpoint)
    assert low is not None
    assert low.startswith("mAP50 0.004: nothing is found")
    assert undefined is not None
    assert undefined.startswith("mAP50 is not defined")
    for word in (low, undefined):
        assert shlex.split(word.partition("python -m spikeyolo.doctor ")[2]) == [
            "--config-dir", "/my conf", "data.classes=[car,light truck]", f"checkpoint='{checkpoint}'",
        ]  # fmt: skip
    assert doctor_command(given, []).endswith("trainer.resume=old")


@pytest.mark.parametrize(("batch_size", "fits"), [(2, 1), (16, 4)])
def test_a_network_that_does_not_fit_into_memory_is_told_by_the_configured_batch(
    batch_size: int, fits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []

    def full(detector: object, loss: object, batch: Batch, **options: object) -> None:
        looked_at.append(batch.frames.shape[1])
        raise MemoryError

    monkeypatch.setattr("spikeyolo.diagnosis.network.look.check_network", full)
    size = (f"data.batch_size={batch_size}", "data.max_samples_per_file=10")
    ended = doctor(*SMALLEST, *size, "data.classes=[disc]", "sections=[network]", cwd=tmp_path)
    assert looked_at == [min(batch_size, 8)]
    assert (ended.code, names(ended)) == (3, ["batch"]), ended.output + ended.errors
    assert f"→ data.batch_size={fits} trainer.nominal_batch={batch_size}\n" in ended.output
