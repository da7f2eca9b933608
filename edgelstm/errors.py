"""The exceptions. All derive from EdgeLstmError, so one `except` catches what this package refuses."""


class EdgeLstmError(Exception):
    """Base of every error raised on purpose; its message says what to do."""


class CheckpointError(EdgeLstmError):
    """A checkpoint cannot be read, or holds something that would not be honoured."""


class ModelError(EdgeLstmError):
    """A model's layers, tensors or shapes do not fit together."""


class QuantizeError(EdgeLstmError):
    """A model cannot be quantized, or the samples do not fit it."""


class ExportError(EdgeLstmError):
    """A model cannot be expressed in the format asked for."""


class PeerError(EdgeLstmError):
    """Another framework failed to run a model."""


class ImageError(EdgeLstmError):
    """An image is damaged, of another version, or not an image."""


class InputError(EdgeLstmError, ValueError):
    """An array, a value or a name handed in does not fit."""


class BusyError(EdgeLstmError, RuntimeError):
    """A runner is in use by another thread."""


class MissingError(EdgeLstmError, ImportError):
    """An optional package is not installed; the message holds the pip command."""
