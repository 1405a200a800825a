"""What is compared: tables of detections, found from run folders, evaluations, multiruns and MLflow run ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spikeyolo.detections import DetectionTable
from spikeyolo.detections.table import read_metadata
from spikeyolo.entry import flatten
from spikeyolo.errors import ConfigError, DetectionError
from spikeyolo.mlflow_store import open_client

DETECTIONS, TRUTH = "detections.parquet", "truth.parquet"
# Settings that name or place a run, and change no figure.
OF_THE_PLACE = re.compile(
    r"^(name|debug|objective|seed|logger\..*|trainer\.(resume|threads|device)|data\.(store|workers))$"
)


@dataclass(frozen=True, eq=False)
class Entrant:
    """One table of detections in a comparison.

    Attributes:
        name: as short as tells it from the others.
        table: its detections.
        truth: the table of truth beside it; None where there is none.
        settings: of the run that made it, flat; empty where its configuration is not at hand.
        seed: of that run; None where unknown.
    """

    name: str
    table: DetectionTable
    truth: Path | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None

    @property
    def data_digest(self) -> str | None:
        """Of the data that were detected on, as the table has it."""
        return self._made_from.get("data")

    @property
    def checkpoint(self) -> str | None:
        """Where the network lay that found them."""
        told = self.table.metadata.get("checkpoint")
        return told if isinstance(told, str) else None

    @property
    def split(self) -> str:
        """Of the data set."""
        return str(self._made_from.get("split") or "test")

    @property
    def windows(self) -> str | None:
        """Which ones an evaluation of ours scored, as ``evaluate windows=…`` names them."""
        told = self._made_from.get("windows")
        return told.get("windows") if isinstance(told, dict) else None

    @property
    def _made_from(self) -> Mapping[str, Any]:
        made = self.table.metadata.get("identity")
        return made if isinstance(made, dict) else {}


def find_entrants(named: Sequence[str], *, split: str | None = None, tracking_uri: str | None = None) -> list[Entrant]:
    """Every table that the words of a command line mean.

    Args:
        named: tables (``.parquet``), folders of evaluations, of runs or of multiruns, or MLflow run ids.
        split: of runs that were evaluated on several.
        tracking_uri: where run ids are looked up.

    Raises:
        ConfigError: a word means nothing, a run was not evaluated yet, or there are fewer than two.
        DetectionError: a table cannot be read.
    """
    places = [place for word in named for place in _tables(word, split, tracking_uri)]
    found = [(table, run) for table, run in places if table is not None]
    missing = list(dict.fromkeys(run for table, run in places if table is None and run is not None))
    if missing:
        raise ConfigError(_not_evaluated(missing, len(places), split))
    if len(found) < 2:
        raise ConfigError(f"compare: found {len(found)} evaluated run; expected at least two, as in compare RUN RUN")
    names = _names([run if run is not None else table for table, run in found])
    return [_entrant(name, table, run) for name, (table, run) in zip(names, found, strict=True)]


def differing(entrants: Sequence[Entrant]) -> dict[str, list[Any]]:
    """Settings that are not the same in all: key → the value of each, None where it has no such key."""
    keys = sorted({key for entrant in entrants for key in entrant.settings if not OF_THE_PLACE.match(key)})
    values = {key: [entrant.settings.get(key) for entrant in entrants] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def by_configuration(entrants: Sequence[Entrant]) -> list[list[Entrant]]:
    """Entrants that differ in nothing but their seed, together; in the order in which they first come."""
    groups: list[list[Entrant]] = []
    for entrant in entrants:
        for group in groups:
            if _is_another_seed(entrant, group):
                group.append(entrant)
                break
        else:
            groups.append([entrant])
    return groups


def _is_another_seed(entrant: Entrant, group: Sequence[Entrant]) -> bool:
    if not entrant.settings or entrant.seed is None or any(member.seed in (None, entrant.seed) for member in group):
        return False
    return not differing([group[0], entrant])


def _not_evaluated(runs: Sequence[Path], of: int, split: str | None) -> str:
    """Which runs have no table, and a command that makes them all."""
    command, on = f"split={split or 'test'}", f" on {split}" if split else ""
    evaluate = "python -m spikeyolo.evaluate checkpoint="
    if len(runs) == 1:
        return f"{runs[0]}: was not evaluated{on} yet; expected {evaluate}{runs[0] / 'checkpoints' / 'best'} {command}"
    parents = {run.parent for run in runs}
    listed = f"{parents.pop()}/*" if len(parents) == 1 else " ".join(map(str, runs))
    names = ", ".join(map(str, runs[:4])) + (", …" if len(runs) > 4 else "")
    return (
        f"{names}: {len(runs)} of {of} runs were not evaluated{on} yet; expected for run in {listed}; do {evaluate}"
        f"$run/checkpoints/best {command}; done"
    )


def _tables(word: str, split: str | None, tracking_uri: str | None) -> list[tuple[Path | None, Path | None]]:
    """Tables, each with the folder of the run that made it; None for one that was not evaluated."""
    path = Path(word)
    if path.is_file():
        return [(path, _run_of(path))]
    if (path / DETECTIONS).is_file():
        return [(path / DETECTIONS, _run_of(path / DETECTIONS))]
    if path.name in ("best", "last") and path.parent.name == "checkpoints":
        path = path.parent.parent
    if (path / ".hydra" / "config.yaml").is_file() or (path / "evaluation").is_dir():
        return [(_evaluation(path, split), path)]
    jobs = sorted((job.parent.parent for job in path.glob("*/.hydra/config.yaml")), key=_job_order)
    if jobs:
        return [(_evaluation(job, split), job) for job in jobs]
    if re.fullmatch(r"[0-9a-f]{32}", word):
        run = _mlflow_folder(word, tracking_uri)
        return [(_evaluation(run, split), run)]
    what = "holds neither a run nor an evaluation" if path.is_dir() else "is not there"
    raise ConfigError(f"{word}: {what}; expected a run folder, a multirun folder, a table or an MLflow run id")


def _job_order(job: Path) -> tuple[int, int, str]:
    return (0, int(job.name), "") if job.name.isdigit() else (1, 0, job.name)


def _evaluation(run: Path, split: str | None) -> Path | None:
    """The table of a run's best checkpoint that was scored last; None where there is none."""
    found = sorted((run / "evaluation").glob(f"*/{DETECTIONS}"), key=_scored_at)
    best = [path for path in found if _checkpoint_of(path) == "best"] or found
    splits = {_split_of(path) for path in best}
    if split is not None:
        best = [path for path in best if _split_of(path) == split]
    elif len(splits) > 1:
        raise ConfigError(f"{run}: was evaluated on {', '.join(sorted(splits))}; expected split=NAME to choose one")
    return best[-1] if best else None


def _scored_at(table: Path) -> float:
    """When a table was made or, found unchanged, scored again."""
    return max(path.stat().st_mtime for path in (table, *table.parent.glob("*/scores.json")))


def _split_of(table: Path) -> str:
    """As the table has it; where it does not tell, ``val`` of ``best_val_1a2b3c``."""
    told = (_made(table).get("identity") or {}).get("split")
    return str(told) if told else [*table.parent.name.split("_"), ""][1]


def _checkpoint_of(table: Path) -> str:
    """``best`` or ``last``, as the table has it; where it does not tell, ``best`` of ``best_val_1a2b3c``."""
    told = _made(table).get("checkpoint")
    return Path(told).name if told else table.parent.name.split("_")[0]


def _made(table: Path) -> dict[str, Any]:
    """What a table tells of its making; nothing where it cannot be read, which is said if it is chosen."""
    try:
        return read_metadata(table)
    except DetectionError:
        return {}


def _run_of(table: Path) -> Path | None:
    """RUN of ``RUN/evaluation/NAME/detections.parquet``."""
    folder = table.resolve().parent.parent
    return folder.parent if folder.name == "evaluation" and (folder.parent / ".hydra").is_dir() else None


def _mlflow_folder(run_id: str, tracking_uri: str | None) -> Path:
    from mlflow.exceptions import MlflowException

    if tracking_uri is None and not Path("mlflow.db").is_file():
        raise ConfigError(f"{run_id}: there is no mlflow.db in this folder; expected tracking_uri=URL")
    uri = tracking_uri or f"sqlite:///{Path('mlflow.db').absolute()}"
    try:
        folder = open_client(uri).get_run(run_id).data.tags.get("folder")
    except MlflowException as error:
        raise ConfigError(f"{run_id}: {uri} has no such run ({str(error).splitlines()[0]})") from error
    if folder is None or not Path(folder).is_dir():
        raise ConfigError(f"{run_id}: its run folder {folder or ''} is not here; expected that folder's path")
    return Path(folder)


def _entrant(name: str, table: Path, run: Path | None) -> Entrant:
    from omegaconf import OmegaConf

    truth = table.with_name(TRUTH)
    settings: dict[str, Any] = {}
    if run is not None and (run / ".hydra" / "config.yaml").is_file():
        settings = flatten(OmegaConf.to_container(OmegaConf.load(run / ".hydra" / "config.yaml"), resolve=False))
    seed = settings.get("seed")
    return Entrant(
        name,
        DetectionTable.read(table, embeddings=False),
        truth if truth.is_file() else None,
        settings,
        seed if isinstance(seed, int) else None,
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart; one that is named twice is counted."""
    resolved = [path.resolve() for path in paths]
    names = [str(path) for path in resolved]
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(set(resolved)):
            break
    unique: list[str] = []
    for index, name in enumerate(names):
        times = names[: index + 1].count(name)
        unique.append(name if times == 1 else f"{name} ({times})")
    return unique
