"""The exceptions, and text fit to be shown. All derive from EdgeLstmError, so one `except` catches what is refused."""

LONGEST = 600  # characters of a message


class EdgeLstmError(Exception):
    """Base of every error raised on purpose; its message says what to do, in one printable line.

    Messages name what stands in files of strangers, so that is made fit for terminals and logs here, once for all.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


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


def one_line(text: str) -> str:
    """The text without line breaks, escape sequences and the like spelt out, its middle left out if it is too long."""
    return _cut(printable(_cut(text)))


def printable(text: str) -> str:
    """The text as a terminal may be given it."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character in "\n\t" else character.encode("unicode_escape").decode("ascii")


def _cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST * 2 // 3]} ... {text[5 - LONGEST // 3 :]}"
