"""Train a net of tests/golden/quantize: two layers of 24 units that tell what a machine does, and how hard it shakes.

Needs torch; takes a minute on one core. From the root of the repository: python tools/train_regimes.py
Writes regimes.npz: the weights, streams to calibrate on and others to measure on. All data are drawn here.

Three noisy channels, so that single steps say little. For 200 to 2,000 steps the machine is in one of five regimes,
which differ in how fast it turns, how hard it shakes, and in rare knocks. The net says which (five scores) and gives
the mean square of the first channel as a slow average. It is trained as it will run, on streams whose state is carried.
Nothing bounds its cells: while a regime lasts some go on counting, to beyond 200, beside others that hold the average.
"""

import sys
from pathlib import Path

import numpy as np
import torch

REGIMES, CHANNELS, UNITS, SLOW = 5, 3, 24, 200
STREAMS, LONG, CHUNK, UPDATES, SEED = 48, 8000, 96, 1500, 5
RESET = 0.02  # chance that a stream starts anew before a chunk
SPEED = (0.0, 0.12, 0.3, 0.3, 0.3)  # radians a step, by regime
SHAKING = (0.05, 0.3, 0.5, 0.5, 0.5)
UNEVEN = (0.0, 0.1, 0.4, 0.9, 0.4)  # of an unbalanced shaft, in phase with its turning
KNOCKS = (0.0, 0.0, 0.02, 0.02, 0.1)  # chance a step


def stream(rng, steps):
    """x float32 [steps, CHANNELS], the regime of every step and the average."""
    regime = np.empty(steps, np.int64)
    at = 0
    while at < steps:
        length = int(rng.integers(200, 2000))
        regime[at : at + length] = rng.integers(REGIMES)
        at += length
    speed, shaking, uneven, knocks = (np.array(v)[regime] for v in (SPEED, SHAKING, UNEVEN, KNOCKS))
    angle = np.cumsum(speed * (1 + 0.1 * rng.normal(size=steps))) + rng.uniform(0, 6.3)
    noise = rng.normal(size=(steps, CHANNELS)) * shaking[:, None]
    knock = (rng.random(steps) < knocks) * rng.exponential(3.0, steps)
    x = np.stack([uneven * np.sin(angle) + knock, uneven * np.cos(angle) - knock, 0.3 * speed], axis=1)
    x = (x + noise).astype(np.float32)
    average, level = np.empty(steps, np.float32), 0.0
    for t, power in enumerate(np.square(x[:, 0])):
        level += (power - level) / SLOW
        average[t] = level
    return x, regime, average


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(CHANNELS, UNITS, 2, batch_first=True)
        self.out = torch.nn.Linear(UNITS, REGIMES + 1)

    def forward(self, x, state):
        h, state = self.lstm(x, state)
        return self.out(h), state


def main(folder=Path(__file__).parents[1] / "tests" / "golden" / "quantize"):
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters())
    streams = [stream(rng, LONG) for _ in range(STREAMS)]
    places = rng.integers(LONG // CHUNK, size=STREAMS) * CHUNK
    state = tuple(torch.zeros(2, STREAMS, UNITS) for _ in range(2))
    right = []
    for update in range(UPDATES):
        for group in optimizer.param_groups:
            group["lr"] = 8e-3 * (1 - update / UPDATES)
        kept = torch.ones(STREAMS, 1)
        for k in range(STREAMS):
            if places[k] + CHUNK > LONG or rng.random() < RESET:
                streams[k], places[k], kept[k] = stream(rng, LONG), 0, 0
        chunks = zip(*([part[at : at + CHUNK] for part in s] for s, at in zip(streams, places)))
        x, regime, average = (torch.tensor(np.stack(parts)) for parts in chunks)
        places += CHUNK
        y, state = net(x, tuple(v.detach() * kept for v in state))
        loss = torch.nn.functional.cross_entropy(y[..., :REGIMES].flatten(0, 1), regime.flatten())
        loss = loss + 3 * torch.nn.functional.mse_loss(y[..., REGIMES], average)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        right.append((y[..., :REGIMES].argmax(-1) == regime).float().mean().item())
        if update % 100 == 99:
            share, most = np.mean(right[-100:]), state[1].abs().max()
            print(f"{update + 1} updates: {share:.3f} right, |c| up to {most:.0f}", flush=True)
    weights = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    samples, data = (np.stack([stream(rng, 600)[0] for _ in range(12)]).astype(np.float16) for _ in range(2))
    np.savez_compressed(Path(folder) / "regimes.npz", samples=samples, data=data, **weights)


if __name__ == "__main__":
    main(*sys.argv[1:])
