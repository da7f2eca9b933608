"""Runs LSTMs trained in Keras or PyTorch on small computers."""
