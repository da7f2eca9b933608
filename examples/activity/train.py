"""Train the activity net: two LSTM layers of 48 and a Linear layer, on six channels of a phone at the waist.

    python train.py PATH            # the data set's RawData folder, or the packed file of recordings.py

Needs torch; takes a few minutes on one core. Writes activity.pt, a state dict in half precision, and activity.toml:
scaler, units, labels, window and hop. The recordings are walked as streams: state is carried from one chunk to the
next and now and then reset, so that the net serves fresh windows and endless streams alike.

Everything above was chosen with --hold-out, which leaves four of the training volunteers out, prints the accuracy on
them and writes nothing. The test volunteers are never looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import recordings as data
import torch

HERE = Path(__file__).parent
HELD_OUT = (3, 11, 21, 28)  # training volunteers, for --hold-out
UNITS, STREAMS, CHUNK = 48, 64, 128
EPOCHS, UPDATES = 24, 90  # an epoch is so many updates, about once through the recordings
WARMUP = 48  # steps after a reset whose answers are not asked for: too few samples to tell
RESET = 0.5  # chance that a stream jumps elsewhere before a chunk
RATE, DECAY, SMOOTHING = 4e-3, 0.02, 0.05
QUIET = np.repeat([0.04, 0.017], 3)  # g and rad/s, the scaler's unit: about what a standing body sways. Sitting differs
# by that sway, which vanishes beside steps if channels are scaled to their deviation; on steps gates simply saturate.
TILT, GAIN = 0.15, 0.1  # of augmentation: radians, and parts of a channel


class Net(torch.nn.Module):
    """A score for each activity at every step, and the state to go on from."""

    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(len(data.CHANNELS), UNITS, 2, batch_first=True, dropout=0.3)
        self.dropout = torch.nn.Dropout(0.4)
        self.out = torch.nn.Linear(UNITS, len(data.ACTIVITIES))

    def forward(self, x, state=None):
        h, state = self.lstm(x, state)
        return self.out(self.dropout(h)), state


class Scale:
    """Channels in the sensors' units to mean 0 and a deviation of 1 when the body is quiet."""

    def __init__(self, recordings):
        self.mean, self.deviation = np.concatenate([r.signal for r in recordings]).mean(axis=0), QUIET

    def __call__(self, x):
        return ((x - self.mean) / self.deviation).astype(np.float32)


class Streams:
    """Walks recordings in chunks, many side by side; a stream that jumps starts from a reset state."""

    def __init__(self, recordings, random):
        self.recordings, self.random = recordings, random
        sizes = np.array([len(r.label) for r in recordings], float)
        self.chance = sizes / sizes.sum()
        self.places = [None] * STREAMS  # recording and sample where each goes on; None: it has to jump

    def chunk(self):
        """x [STREAMS, CHUNK, 6], labels with -1 where nothing is asked for, and which streams were reset."""
        x = np.empty((STREAMS, CHUNK, len(data.CHANNELS)), np.float32)
        label = np.empty((STREAMS, CHUNK), np.int64)
        reset = np.zeros(STREAMS, bool)
        for k, place in enumerate(self.places):
            if place is None or self.random.random() < RESET:
                recording = self.recordings[self.random.choice(len(self.recordings), p=self.chance)]
                place = recording, int(self.random.integers(len(recording.label) - CHUNK))
                reset[k] = True
            recording, first = place
            x[k], label[k] = recording.signal[first : first + CHUNK], recording.label[first : first + CHUNK]
            more = first + 2 * CHUNK <= len(recording.label)
            self.places[k] = (recording, first + CHUNK) if more else None
        label[reset, :WARMUP] = -1
        return x, label, reset


def augmented(x, random):
    """Another belt and another phone: all axes tilted a little, the same way in both sensors, and a gain a channel.

    No noise: it would drown the sway.
    """
    axis = random.normal(0, TILT, (len(x), 3))
    cross = np.zeros((len(x), 3, 3))
    cross[:, (2, 0, 1), (1, 2, 0)], cross[:, (1, 2, 0), (2, 0, 1)] = axis, -axis
    turn = np.eye(3) + cross + cross @ cross / 2  # a rotation, to second order
    turned = np.concatenate([x[:, :, :3] @ turn, x[:, :, 3:] @ turn], axis=2)
    return turned * random.normal(1, GAIN, (len(x), 1, x.shape[2]))


def accuracy(net, x, label):
    """Share of windows, each from a reset state, whose last answer is right."""
    net.eval()
    with torch.no_grad():
        answers = torch.cat([net(part)[0][:, -1] for part in torch.from_numpy(x).split(512)])
    net.train()
    return float((answers.argmax(dim=1).numpy() == label).mean())


def train(recordings, held):
    """The net after the last epoch, its weights averaged along the way, and the scale. held: what to report on."""
    torch.manual_seed(1)
    random = np.random.default_rng(1)
    scale = Scale(recordings)
    x_held, label_held = data.windows(held) if held else (None, None)

    net = Net()
    smooth = torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=smooth)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * UPDATES)
    loss_of = torch.nn.CrossEntropyLoss(ignore_index=-1, label_smoothing=SMOOTHING)
    streams, state = Streams(recordings, random), None
    for epoch in range(EPOCHS):
        total = 0.0
        for _ in range(UPDATES):
            x, label, reset = streams.chunk()
            if state is not None:
                keep = torch.from_numpy(~reset).float()[None, :, None]
                state = tuple(s.detach() * keep for s in state)
            answers, state = net(torch.from_numpy(scale(augmented(x, random))), state)
            loss = loss_of(answers.flatten(0, 1), torch.from_numpy(label).flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(net)
            total += loss.item() / UPDATES
        right = f"  held-out volunteers {accuracy(average.module, scale(x_held), label_held):.4f}" if held else ""
        print(f"epoch {epoch + 1:2}  loss {total:.3f}{right}", flush=True)
    return average.module, scale


def meta(scale) -> str:
    """The meta file: what a checkpoint does not say of its numbers (docs/meta.md)."""
    units = ["g"] * 3 + ["rad/s"] * 3
    numbers = {name: [round(float(v), 6) for v in getattr(scale, name)] for name in ("mean", "deviation")}
    lines = [
        f"window = {data.WINDOW}  # samples at {data.RATE} a second",
        f"hop = {data.HOP}",
        "",
        "[[inputs]]",
        f"channels = {list(data.CHANNELS)}",
        f"units = {units}",
        "",
        "[inputs.scaler]",
        *(f"{name} = {values}" for name, values in numbers.items()),
        "",
        "[[outputs]]",
        f"labels = {list(data.ACTIVITIES)}",
    ]
    return "\n".join(lines).replace("'", '"') + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="the RawData folder, or the packed file")
    parser.add_argument("--hold-out", action="store_true", help="report on four training volunteers, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recordings = [r for r in data.read(options.path) if not data.is_test(r)]
    if options.hold_out:
        fitted = [r for r in recordings if r.volunteer not in HELD_OUT]
        train(fitted, [r for r in recordings if r.volunteer in HELD_OUT])
        return
    net, scale = train(recordings, [])
    torch.save({name: value.half() for name, value in net.state_dict().items()}, HERE / "activity.pt")
    (HERE / "activity.toml").write_text(meta(scale))


if __name__ == "__main__":
    main()
