"""Train the activity net: two LSTM layers of 32 and a Linear layer, on six channels of a phone at the waist.

    python train.py RawData            # the data set's folder, or the packed file of recordings.py

Needs torch. Writes activity.pt (a state dict) and activity.toml (scaler, units, labels, window, hop). The recordings
are walked as streams: state is carried from one chunk to the next and now and then reset, so the net serves fresh
windows and endless streams. The epoch is chosen on four of the training volunteers, who are not trained on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import recordings as data
import torch

HERE = Path(__file__).parent
VALIDATION = (3, 11, 21, 28)  # training volunteers who choose the epoch
STREAMS, CHUNK, UPDATES_AN_EPOCH, EPOCHS = 64, 128, 90, 40
WARMUP = 48  # steps after a reset whose answers are not asked for: too few samples to tell
RESET = 0.5  # chance that a stream jumps elsewhere before a chunk
RATE, DECAY, SMOOTHING = 4e-3, 0.02, 0.05


class Net(torch.nn.Module):
    def __init__(self, units: int = 32):
        super().__init__()
        self.lstm = torch.nn.LSTM(len(data.CHANNELS), units, 2, batch_first=True, dropout=0.3)
        self.dropout = torch.nn.Dropout(0.4)
        self.out = torch.nn.Linear(units, len(data.ACTIVITIES))

    def forward(self, x, state=None):
        h, state = self.lstm(x, state)
        return self.out(self.dropout(h)), state


class Streams:
    """Walks recordings in chunks, many side by side; a stream that jumps starts from a reset state."""

    def __init__(self, recordings, random):
        self.recordings, self.random = recordings, random
        self.weights = np.array([len(r.label) for r in recordings], float)
        self.at = [None] * STREAMS

    def chunk(self):
        """x [STREAMS, CHUNK, 6], labels with -1 where nothing is asked for, and which streams were reset."""
        x = np.empty((STREAMS, CHUNK, len(data.CHANNELS)), np.float32)
        label = np.empty((STREAMS, CHUNK), np.int64)
        reset = np.zeros(STREAMS, bool)
        for k in range(STREAMS):
            if self.at[k] is None or self.random.random() < RESET:
                chosen = self.random.choice(len(self.recordings), p=self.weights / self.weights.sum())
                first = int(self.random.integers(0, len(self.recordings[chosen].label) - CHUNK))
                self.at[k], reset[k] = (chosen, first), True
                self.size = None
            recording, first = self.recordings[self.at[k][0]], self.at[k][1]
            x[k], label[k] = recording.signal[first : first + CHUNK], recording.label[first : first + CHUNK]
            after = first + CHUNK
            self.at[k] = (self.at[k][0], after) if after + CHUNK <= len(recording.label) else None
        label[reset, :WARMUP] = -1
        return x, label, reset


def augmented(x, random):
    """Other phones and belts: a gain and an offset a channel, a little noise. Gravity keeps its direction."""
    gain = random.normal(1, 0.1, (len(x), 1, x.shape[2]))
    offset = random.normal(0, 0.05, (len(x), 1, x.shape[2]))
    return (x * gain + offset + random.normal(0, 0.02, x.shape)).astype(np.float32)


def accuracy(net, x, label):
    """Share of windows, each from a reset state, whose last answer is right."""
    net.eval()
    with torch.no_grad():
        answers = torch.cat([net(part)[0][:, -1] for part in torch.from_numpy(x).split(512)])
    net.train()
    return float((answers.argmax(dim=1).numpy() == label).mean())


def train(recordings, seed, epochs):
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    fitted = [r for r in recordings if r.volunteer not in VALIDATION]
    held = [r for r in recordings if r.volunteer in VALIDATION]
    everything = np.concatenate([r.signal for r in fitted])
    mean, deviation = everything.mean(axis=0), everything.std(axis=0)
    scale = 1 / deviation
    offset = -mean / deviation
    fitted = [data.Recording(r.experiment, r.volunteer, r.signal * scale + offset, r.label) for r in fitted]
    x_held, label_held = data.windows(held)
    x_held = x_held * scale + offset

    net = Net()
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99))
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * UPDATES_AN_EPOCH)
    loss_of = torch.nn.CrossEntropyLoss(ignore_index=-1, label_smoothing=SMOOTHING)
    streams, state = Streams(fitted, random), None
    best, chosen = 0.0, None
    for epoch in range(epochs):
        total = 0.0
        for _ in range(UPDATES_AN_EPOCH):
            x, label, reset = streams.chunk()
            if state is not None:
                keep = torch.from_numpy(~reset).float()[None, :, None]
                state = tuple(s.detach() * keep for s in state)
            answers, state = net(torch.from_numpy(augmented(x, random)), state)
            loss = loss_of(answers.flatten(0, 1), torch.from_numpy(label).flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(net)
            total += loss.item()
        right = accuracy(average.module, x_held, label_held)
        print(f"epoch {epoch + 1:2}  loss {total / UPDATES_AN_EPOCH:.3f}  held-out volunteers {right:.4f}", flush=True)
        if right >= best:
            best, chosen = right, {name: value.clone() for name, value in average.module.state_dict().items()}
    return chosen, scale, offset


def main():
    parser = argparse.ArgumentParser(description="Train the activity net.")
    parser.add_argument("path", help="the RawData folder, or the packed file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    recordings = [r for r in data.read(options.path) if not data.is_test(r)]
    weights, scale, offset = train(recordings, options.seed, options.epochs)
    torch.save(weights, HERE / "activity.pt")


if __name__ == "__main__":
    main()
