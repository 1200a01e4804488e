"""The standard chain from a frontend's graph to the one that is calibrated."""

from __future__ import annotations

from ..pipeline import Pipeline, chain
from .cancel_transposes import cancel_transposes
from .drop_dead_code import drop_dead_code
from .drop_identity import drop_identity
from .drop_zero_products import drop_zero_products
from .fold_constants import fold_constants
from .fold_strides import fold_strides
from .fuse_batch_norm import fuse_batch_norm
from .fuse_bias import fuse_bias
from .fuse_pad import fuse_pad
from .make_masks_finite import make_masks_finite
from .recognize_activations import recognize_activations
from .recognize_branches import recognize_branches
from .recognize_hypot import recognize_hypot
from .recognize_norms import recognize_norms
from .recognize_softmax import recognize_softmax


def canonicalize() -> Pipeline:
    """Fold, clean, recognize and fuse, in the order in which each pass leaves the most to the next.

    Activations and norms are recognized before constants move into weights, where a part of their formula might go.
    Transposes go before fusion, which looks for channels on one axis, but after norms over the last axes, which would
    then be over others. Masks become finite when all softmaxes are known.
    """
    return chain(
        drop_zero_products(),
        fold_constants(),
        drop_identity(),
        recognize_norms(),
        cancel_transposes(),
        drop_identity(),
        recognize_activations(),
        recognize_branches(),
        recognize_norms(),
        recognize_hypot(),
        recognize_softmax(),
        make_masks_finite(),
        fuse_pad(),
        fuse_batch_norm(),
        fuse_bias(),
        fold_strides(),
        drop_identity(),
        drop_dead_code(),
    )
