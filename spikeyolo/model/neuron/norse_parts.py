"""What is used of norse, which compiles functions of its own when it is imported: that torch calls this outdated is
nothing that a user could mend."""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=r".*torch\.jit\.script.* is deprecated", category=FutureWarning)
    from norse.torch.functional.lif import LIFFeedForwardState, LIFParameters, lif_feed_forward_step
    from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters, lif_box_feed_forward_step
    from norse.torch.module.snn import SNN

__all__ = [
    "SNN",
    "LIFBoxFeedForwardState",
    "LIFBoxParameters",
    "LIFFeedForwardState",
    "LIFParameters",
    "lif_box_feed_forward_step",
    "lif_feed_forward_step",
]
