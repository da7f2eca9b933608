"""Train a net of tests/golden/quantize: two layers of 32 units that predict a noisy sum of sines.

Needs torch. From the root of the repository: python tools/train_sines.py [LSTM | GRU | RNN]
LSTM writes sines.npz, with samples and data for all of them; GRU and RNN sines_gru.npz and sines_rnn.npz.
"""

import sys
from pathlib import Path

import numpy as np
import torch

STEPS, SEED, UPDATES = 96, 3, 600


def signals(rng, count):
    """x and the value after it, float32 [count, STEPS, 1] each."""
    t = np.arange(STEPS + 1)
    frequency, phase, size = (rng.uniform(*r, (count, 3, 1)) for r in ((0.05, 0.4), (0, 6.3), (0.2, 1)))
    s = (size * np.sin(frequency * t + phase)).sum(axis=1) + 0.1 * rng.normal(size=(count, STEPS + 1))
    s = s[:, :, None].astype(np.float32)
    return s[:, :-1], s[:, 1:]


class Net(torch.nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.name = cell.lower()
        setattr(self, self.name, getattr(torch.nn, cell)(1, 32, 2, batch_first=True))
        self.out = torch.nn.Linear(32, 1)

    def forward(self, x):
        return self.out(getattr(self, self.name)(x)[0])


def main(cell="LSTM"):
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    net = Net(cell)
    optimizer = torch.optim.Adam(net.parameters())
    for update in range(UPDATES):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - update / UPDATES)
        x, y = (torch.tensor(v) for v in signals(rng, 32))
        loss = torch.nn.functional.mse_loss(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    print(f"RMSE {loss.item() ** 0.5:.4f}")
    folder = Path(__file__).parents[1] / "tests" / "golden" / "quantize"
    weights = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    if cell == "LSTM":
        np.savez_compressed(folder / "sines.npz", samples=signals(rng, 24)[0], data=signals(rng, 64)[0], **weights)
    else:
        np.savez_compressed(folder / f"sines_{cell.lower()}.npz", **weights)


if __name__ == "__main__":
    main(*sys.argv[1:])
