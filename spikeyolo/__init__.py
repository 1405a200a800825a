"""spikeyolo: train, compare and tune spiking YOLO detectors on event-camera recordings.

Shapes are written with one legend everywhere:

    T  time steps          B  batch             C  channels
    H  rows                W  columns           N  events
    M  boxes               A  anchors (cells of all head levels)
    K  classes             E  embedding

Times are int64 microseconds (µs); boxes inside the network are ``xyxy`` pixels of the encoded frame.
"""

__version__ = "0.1.0"
