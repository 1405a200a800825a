"""What AEDAT4 packets are packed with: LZ4 and Zstandard frames, unpacked by libraries within a limit of bytes."""

from __future__ import annotations

import lz4.frame
import zstandard


def unpack_lz4(packed: bytes, limit: int) -> bytes:
    """The content of one LZ4 frame.

    Raises:
        ValueError: the bytes are no whole LZ4 frame, or hold more than ``limit`` bytes.
    """
    decompressor = lz4.frame.LZ4FrameDecompressor()
    try:
        content = bytes(decompressor.decompress(packed, max_length=limit + 1))
    except RuntimeError as error:
        raise ValueError(f"LZ4 frame does not decode: {error}") from error
    if len(content) > limit:
        raise ValueError(f"LZ4 frame holds more than {limit} bytes")
    if not decompressor.eof:
        raise ValueError("LZ4 frame ends early")
    return content


def unpack_zstd_frame(packed: bytes, limit: int) -> bytes:
    """The content of one Zstandard frame.

    Raises:
        ValueError: the bytes are no whole Zstandard frame, or hold more than ``limit`` bytes.
    """
    # The library refuses windows above a limit of its own, so that a frame's header cannot ask for all memory.
    decompressor = zstandard.ZstdDecompressor().decompressobj(read_across_frames=False)
    content = bytearray()
    step = 1 << 16  # small pieces of input bound what one call can unpack to before the limit is looked at
    try:
        for at in range(0, len(packed), step):
            content += decompressor.decompress(packed[at : at + step])
            if len(content) > limit:
                raise ValueError(f"Zstandard frame holds more than {limit} bytes")
            if decompressor.eof:
                break
    except zstandard.ZstdError as error:
        raise ValueError(f"Zstandard frame does not decode: {error}") from error
    if not decompressor.eof:
        raise ValueError("Zstandard frame ends early")
    return bytes(content)
