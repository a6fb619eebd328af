"""DeepLab in TensorFlow 2 and Keras 3, with lookahead adversarial learning (LoAd)."""

__version__ = '0.1.0'
