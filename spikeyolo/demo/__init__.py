"""What ``python -m spikeyolo.predict demo=true`` needs: a small trained checkpoint, and a recording to run it on."""

from spikeyolo.demo.recording import CHECKPOINT, demo_recording

__all__ = ["CHECKPOINT", "demo_recording"]
