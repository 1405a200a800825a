"""``python -m spikeyolo``: which commands there are."""

from __future__ import annotations

import sys
from collections.abc import Mapping

COMMANDS: Mapping[str, tuple[str, str]] = {
    "train": ("train a detector, or search with -m", "+experiment=highfreq"),
    "convert": ("convert recordings and their labels into the store", "source=FILE out=FOLDER"),
    "evaluate": ("score a checkpoint on a split: table, figures, page", "checkpoint=RUN/checkpoints/best"),
    "predict": ("write what a checkpoint detects in recordings", "checkpoint=RUN/checkpoints/best source=FILE"),
    "track": ("tell which detections are of one object", "detections=FILE"),
    "compare": ("tell whether a run is better than another, and how sure that is", "RUN RUN"),
    "doctor": ("find out why a detector learns nothing or slowly", "data=NAME data.root=PATH"),
    "view": ("make a film of a recording: events, labels, detections, tracks", "source=FILE labels=FILE"),
    "export": ("write a checkpoint as ONNX, NIR or torch.export", "checkpoint=RUN/checkpoints/best format=onnx"),
    "upload": ("send what a run could not send to its tracking server", "FOLDER"),
}
# One function completes any of them; upload has no configuration.
COMPLETION = (
    'eval "$(spikeyolo-train -sc install=bash)"; complete -o nospace -o default -F hydra_bash_completion '
    "$(compgen -c spikeyolo- | grep -v upload)"
)


def main() -> int:
    """Print the commands; returns the exit code: 0, or 2 where something else was asked for."""
    asked = sys.argv[1:]
    if asked and asked[0] not in ("-h", "--help"):
        name = asked[0]
        if name in COMMANDS:
            hint = f"that command is python -m spikeyolo.{name} (or spikeyolo-{name})"
        else:
            hint = f"expected one of {', '.join(COMMANDS)}, as in python -m spikeyolo.train"
        print(f"error: python -m spikeyolo: found {name!r}; {hint}", file=sys.stderr)
        return 2
    print("spikeyolo: train, compare and tune spiking YOLO detectors on event-camera recordings\n")
    for name, (purpose, arguments) in COMMANDS.items():
        print(f"  python -m spikeyolo.{name:<8} {purpose}\n      spikeyolo-{name} {arguments}")
    print("\nEach prints its choices with --help. Tab completion of the spikeyolo-… commands in bash and zsh:")
    print(f"  {COMPLETION}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
