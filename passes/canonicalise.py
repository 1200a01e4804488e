"""The standard chain from a frontend's graph to the one that is calibrated."""

from __future__ import annotations

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
from .pipeline import Pipeline, chain
from .recognise_activations import recognise_activations
from .recognise_branches import recognise_branches
from .recognise_hypot import recognise_hypot
from .recognise_norms import recognise_norms
from .recognise_softmax import recognise_softmax


def canonicalise() -> Pipeline:
    """Fold, clean, recognise and fuse, in the order in which each pass leaves the most to the next.

    Activations and norms are recognised before constants move into weights, where a part of their formula might go.
    Transposes go early, so that channels stand on the axis where fusion looks for them, but not before norms over the
    last axes are known, which would then be over others. Identities go again whenever a pass can make some.
    Masks become finite when all softmaxes are known.
    """
    return chain(
        drop_zero_products(),
        fold_constants(),
        drop_identity(),
        recognise_norms(),
        cancel_transposes(),
        drop_identity(),
        recognise_activations(),
        recognise_branches(),
        recognise_norms(),
        recognise_hypot(),
        recognise_softmax(),
        make_masks_finite(),
        fuse_pad(),
        fuse_batch_norm(),
        fuse_bias(),
        fold_strides(),
        drop_identity(),
        drop_dead_code(),
    )
