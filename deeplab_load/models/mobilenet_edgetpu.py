"""MobileNet-EdgeTPU: MobileNetV3's blocks with fused expansions and ReLUs (slim/nets/mobilenet/mobilenet_v3.py)."""

import keras

from deeplab_load.catalog import Architecture
from deeplab_load.models import mobilenet_v3
from deeplab_load.models.heads import Features
from deeplab_load.models.mobilenet_v3 import Block, Network
from deeplab_load.models.slim import ArgScope

NETWORK = Network(
    scope='MobilenetEdgeTPU',
    stem_filters=32,
    blocks=(
        Block(16, 3, 1, 1, fused=True),
        Block(32, 3, 2, 8, fused=True),
        *(Block(32, 3, 1, 4, fused=True) for _ in range(3)),
        Block(48, 3, 2, 8, fused=True),
        *(Block(48, 3, 1, 4, fused=True) for _ in range(3)),
        Block(96, 3, 2, 8),
        *(Block(96, 3, 1, 4) for _ in range(3)),
        Block(96, 3, 1, 8, residual=False),
        *(Block(96, 3, 1, 4) for _ in range(3)),
        Block(160, 5, 2, 8),
        *(Block(160, 5, 1, 4) for _ in range(3)),
        Block(192, 3, 1, 8),
    ),
    last_filters=1280,
    activation='relu',
    low_level={},
)

arg_scope = mobilenet_v3.arg_scope


def backbone(x: keras.KerasTensor, architecture: Architecture, scope: ArgScope) -> Features:
    """MobileNet-EdgeTPU, with atrous convolutions from the output stride on; args and returns as mobilenet_v3's.

    The original has no decoder for it, and so there are no low-level features.
    """
    return mobilenet_v3.stack(x, NETWORK, architecture, scope)
