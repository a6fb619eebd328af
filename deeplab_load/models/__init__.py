"""Keras models of the DeepLab family and of the discriminator."""
