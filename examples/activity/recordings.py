"""Reads the activity recordings: the data set's own RawData folder, or one .npz file packed from it.

    python recordings.py RawData har.npz        # packs: 40 MB of text become 8 MB

Source: "Smartphone-Based Recognition of Human Activities and Postural Transitions", UCI Machine Learning Repository,
https://archive.ics.uci.edu/dataset/341 (Reyes-Ortiz, Oneto, Sama, Parra and Anguita, Neurocomputing 2016).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RATE = 50  # samples a second
WINDOW, HOP = 128, 64  # samples
CHANNELS = ("acc x", "acc y", "acc z", "gyro x", "gyro y", "gyro z")
ACTIVITIES = ("walking", "walking upstairs", "walking downstairs", "sitting", "standing", "laying")
TEST_VOLUNTEERS = (2, 4, 9, 10, 12, 13, 18, 20, 24)  # of the published split
COUNT = np.repeat([1 / 720, np.deg2rad(0.0175)], 3)  # real value of one count of the sensors: g, and rad/s


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One continuous recording of a volunteer who wears a phone at the waist."""

    experiment: int
    volunteer: int
    signal: np.ndarray  # float32 [samples, 6], g and rad/s
    label: np.ndarray  # int8 [samples], index into ACTIVITIES; -1 where nothing or a transition is labelled


def read(path: str | Path) -> list[Recording]:
    """All recordings of a RawData folder or of a packed file."""
    counts, experiments, volunteers, segments = _unpack(path) if Path(path).is_file() else _raw(Path(path))
    recordings = []
    for signal, experiment, volunteer in zip(counts, experiments, volunteers, strict=True):
        label = np.full(len(signal), -1, np.int8)
        for e, v, activity, first, last in segments:
            if (e, v) == (experiment, volunteer) and activity <= len(ACTIVITIES):
                label[first - 1 : last] = activity - 1  # the file counts from 1 and includes the last
        recordings.append(Recording(int(experiment), int(volunteer), (signal * COUNT).astype(np.float32), label))
    return recordings


def is_test(recording: Recording) -> bool:
    return recording.volunteer in TEST_VOLUNTEERS


def windows(recordings: list[Recording]) -> tuple[np.ndarray, np.ndarray]:
    """Half-overlapping windows that lie within one labelled stretch: float32 [N, WINDOW, 6] and labels [N]."""
    xs, labels = [], []
    for r in recordings:
        edges = np.flatnonzero(np.diff(r.label)) + 1
        for first, last in zip([0, *edges], [*edges, len(r.label)], strict=True):
            if r.label[first] >= 0:
                starts = range(first, last - WINDOW + 1, HOP)
                xs += [r.signal[k : k + WINDOW] for k in starts]
                labels += [r.label[first]] * len(starts)
    return np.stack(xs), np.array(labels)


def pack(folder: str | Path, path: str | Path) -> None:
    """Write a RawData folder as one small file: differences of sensor counts, which compress well."""
    counts, experiments, volunteers, segments = _raw(Path(folder))
    delta = np.concatenate([np.diff(c, axis=0, prepend=np.zeros_like(c[:1])) for c in counts]).T
    lengths = [len(c) for c in counts]
    np.savez_compressed(
        path, delta=delta, length=lengths, experiment=experiments, user=volunteers, segment=segments, scale=COUNT
    )


def _raw(folder: Path):
    files = sorted(folder.glob("acc_exp*_user*.txt"))
    if not files:
        raise SystemExit(f"{folder}: neither a packed file nor a folder with acc_exp*_user*.txt")
    counts, experiments, volunteers = [], [], []
    for file in files:
        _, experiment, volunteer = file.stem.split("_")
        gyro = file.with_name(file.name.replace("acc", "gyro"))
        signal = np.concatenate([np.loadtxt(file), np.loadtxt(gyro)], axis=1)
        counts.append(np.rint(signal / COUNT).astype(np.int16))
        experiments.append(int(experiment.removeprefix("exp")))
        volunteers.append(int(volunteer.removeprefix("user")))
    return counts, experiments, volunteers, np.loadtxt(folder / "labels.txt", dtype=int, ndmin=2)


def _unpack(path: str | Path):
    with np.load(path) as file:
        ends = np.cumsum(file["length"])[:-1]
        counts = [np.cumsum(d, axis=1, dtype=np.int16).T for d in np.split(file["delta"], ends, axis=1)]
        return counts, file["experiment"], file["user"], file["segment"]


if __name__ == "__main__":
    pack(*sys.argv[1:3])
