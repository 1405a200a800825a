"""The recording store: write, seal, open, and slice by time."""

from spikeyolo.events.store.chunks import ChunkCache
from spikeyolo.events.store.recording import Cache, Recording
from spikeyolo.events.store.writer import RecordingWriter

__all__ = ["Cache", "ChunkCache", "Recording", "RecordingWriter"]
