"""Accuracy, size and energy of a trained detector before and after its weights lose bits and its layers channels.

    python experiments/smaller/run.py RUN/checkpoints/best --out outputs/smaller +experiment=highfreq

Each arm is a folder below ``--out``; one that is finished is not made again. Overrides are those of the training that
made the checkpoint, since fine-tuning needs its data and recipe.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spikeyolo.engine.checkpoints import checkpoint

FIGURES = ("map50", "map", "parameters", "size/weight_bytes", "energy/gmacs", "energy/gsops", "energy/window_mj")


def rounded(source: Path, folder: Path, bits: int) -> Path:
    """A checkpoint of the same weights that are rounded wherever it is loaded: nothing is trained."""
    checkpoint.copy(source, folder)
    path = folder / checkpoint.STATE
    state = json.loads(path.read_text())
    state["model"]["weight_bits"] = bits
    path.write_text(json.dumps(state, indent=2) + "\n")
    return folder


def tuned(source: Path, folder: Path, overrides: Sequence[str]) -> Path:
    """A training that begins with the checkpoint's weights; its best epoch."""
    if not (folder / "metrics.json").is_file() or not (folder / "finished").is_file():
        weights = checkpoint.paths(source)[1]
        command = [f"++model.pretrained={weights}", "logger=none", "trainer.resume=auto", f"hydra.run.dir={folder}"]
        subprocess.run([sys.executable, "-m", "spikeyolo.train", *overrides, *command], check=True)
        (folder / "finished").touch()
    return folder / "checkpoints" / "best"


def judged(place: Path, split: str, data: Sequence[str]) -> dict[str, Any]:
    """Figures of a checkpoint on a split, with its costs."""
    out = place.parent / "judged"
    command = [f"checkpoint={place}", f"split={split}", f"out={out}", *data]
    subprocess.run([sys.executable, "-m", "spikeyolo.evaluate", *command], check=True)
    scores = json.loads(next(out.rglob("scores.json")).read_text())
    costs = json.loads(next(out.rglob("costs.json")).read_text())
    known = {**costs, **scores.get("figures", scores)}
    return {name: known[name] for name in FIGURES}


def arms(source: Path, out: Path, arguments: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Name and checkpoint of each; those with ``tuned`` in their names were trained for so many epochs more."""
    recipe = [
        *arguments.overrides,
        f"trainer.max_epochs={arguments.epochs}",
        "scheduler=cosine",
        f"optimizer.lr={arguments.lr}",
    ]
    pruning = [
        "+pruning=channels",
        f"trainer.callbacks.channels.share={arguments.share}",
        "trainer.callbacks.channels.first_epoch=1",
        f"trainer.callbacks.channels.last_epoch={max(arguments.epochs // 2, 1)}",
    ]
    trained = out / "trained" / "checkpoint"
    checkpoint.copy(source, trained)
    yield "trained", trained
    for bits in (8, 4):
        yield f"{bits} bits, only rounded", rounded(source, out / f"rounded_{bits}" / "checkpoint", bits)
    yield "tuned", tuned(source, out / "tuned", recipe)
    yield "pruned, 8 bits, tuned", tuned(source, out / "pruned_8", [*recipe, *pruning, "model.weight_bits=8"])
    for bits in (8, 4):
        yield f"{bits} bits, tuned", tuned(source, out / f"tuned_{bits}", [*recipe, f"model.weight_bits={bits}"])
    yield "pruned, tuned", tuned(source, out / "pruned", [*recipe, *pruning])


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown, one row an arm."""
    lines = ["| network | mAP50 | mAP | parameters | weights, kB | MMACs a step | MSOPs a step | mJ a window |"]
    lines.append("|---|" + "---:|" * 7)
    for name, row in rows.items():
        cells = [f"{row['map50']:.3f}", f"{row['map']:.3f}", f"{row['parameters']:,}"]
        cells += [f"{row['size/weight_bytes'] / 1e3:.1f}", f"{1e3 * row['energy/gmacs']:.2f}"]
        cells += [f"{1e3 * row['energy/gsops']:.2f}", f"{row['energy/window_mj']:.4f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=Path("outputs/smaller"))
    parser.add_argument("--epochs", type=int, default=20, help="of fine-tuning")
    parser.add_argument("--lr", type=float, default=1e-3, help="where fine-tuning begins")
    parser.add_argument("--share", type=float, default=0.5, help="of hidden channels to be pruned")
    parser.add_argument("--split", default="test", help="to be judged on")
    arguments, arguments.overrides = parser.parse_known_args(given)
    out = arguments.out.resolve()
    data = [item for item in arguments.overrides if item.startswith("data.store=")]
    rows: dict[str, dict[str, Any]] = {}
    for name, place in arms(arguments.checkpoint, out, arguments):
        rows[name] = judged(place, arguments.split, data)
        (out / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
        (out / "results.md").write_text(table(rows) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
