"""The best checkpoint as an MLflow model: a pyfunc that is loaded from safetensors, never from a pickle."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

NAME = "detector"
LOADER = "spikeyolo.pyfunc"  # what MLflow imports to load it


def log_model(client: MlflowClient, run_id: str, checkpoint: Path, *, step: int) -> None:
    """Log a checkpoint's folder as a model of a run, which can then be registered.

    Raises:
        OSError: the checkpoint cannot be read.
    """
    from mlflow import pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    run = client.get_run(run_id)
    with tempfile.TemporaryDirectory(prefix="spikeyolo-model-") as temporary:
        weights = Path(temporary) / "checkpoint"
        # The links of a checkpoint are for people; MLflow would store what they point to twice.
        shutil.copytree(
            checkpoint,
            weights,
            ignore=lambda folder, names: [name for name in names if (Path(folder) / name).is_symlink()],
        )
        classes = json.loads((weights / "state.json").read_text(encoding="utf-8"))["classes"]
        made = client.create_logged_model(
            run.info.experiment_id,
            name=NAME,
            source_run_id=run_id,
            params={"classes": ", ".join(classes)},
            model_type="detector",
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MLflow would have an example, which is run at once and stored
                pyfunc.save_model(
                    str(Path(temporary) / "model"),
                    loader_module=LOADER,
                    data_path=str(weights),
                    mlflow_model=Model(run_id=run_id, model_id=made.model_id),
                    signature=_signature(weights),
                    pip_requirements=[f"spikeyolo=={metadata.version('spikeyolo')}"],
                )
            client.log_model_artifacts(made.model_id, str(Path(temporary) / "model"))
            client.finalize_logged_model(made.model_id, "READY")
            client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step)])
        except Exception:
            client.delete_logged_model(made.model_id)
            raise


def _signature(checkpoint: Path) -> ModelSignature:
    """Frames in, one row a detection out."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    frames = TensorSpec(np.dtype(np.uint8), (-1, -1, state["in_channels"], -1, -1))
    numbers = [ColSpec(DataType.double, name) for name in ("left", "top", "right", "bottom", "confidence")]
    return ModelSignature(
        inputs=Schema([frames]),
        outputs=Schema([ColSpec(DataType.long, "window"), *numbers, ColSpec(DataType.string, "class")]),
    )
