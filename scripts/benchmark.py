"""How fast training is, beside the same step written the common way; and how data are handled.

    python scripts/benchmark.py                     # training, random images of MNIST's shape
    python scripts/benchmark.py --root data         # training, MNIST from data/MNIST/raw
    python scripts/benchmark.py data                # all measurements of data, or one by its name
    python scripts/benchmark.py disk --gigabytes 5
    python scripts/benchmark.py --json result.json

What is compared takes turns in one process, round after round, so that a busy machine slows all
alike; the ratio of a round is the figure to trust. It imports no Hydra and runs wherever torch
does. The measurements of data: prepare, batches (drawn from the disk and from memory), disk
(training from the disk and from memory), memory, grouping.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.distributions import Normal
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

sys.path.insert(0, str(Path(__file__).parent.parent))  # so that a checkout runs uninstalled

from benchmarks.data import MEASUREMENTS, run

import mlvae
from mlvae.data import GroupedData, Shuffled
from mlvae.training import Adam
from mlvae.training.seeding import seeded
from mlvae.training.step import TrainingStep

#: configs/experiment/mnist_author.yaml in Python.
BATCH_SIZE, HIDDEN, CONTENT, STYLE, PIXELS = 256, 500, 10, 10, 784


def author_model() -> mlvae.models.MLVAE:
    """The model of experiment=mnist_author."""
    return mlvae.models.MLVAE(
        (1, 28, 28),
        content_dim=CONTENT,
        style_dim=STYLE,
        network=mlvae.networks.MLP(hidden=(HIDDEN,), activation="tanh", init="lecun"),
        likelihood=mlvae.likelihoods.LearnedGaussian(-1.0, 1.0),
    )


def library_steps(data: GroupedData, precision: str, graphs: bool = True) -> Iterator[int]:
    """Train as `mlvae.train` does, and yield the number of images after each step."""
    model = author_model().to(data.device)
    adam = Adam().build(model.parameters())
    training_step = TrainingStep(model, adam, precision=precision, graphs=graphs)
    batching = Shuffled(BATCH_SIZE)
    order, noise = torch.Generator(data.device), torch.Generator(data.device)
    step = epoch = 0
    while True:
        for batch in batching.plan(data, seeded(order, 0, "order", epoch)):
            training_step(batch, step, seeded(noise, 0, "noise", step))
            step += 1
            if data.device.type == "cpu":
                training_step.failure()
            yield len(batch.x)
        training_step.read()
        training_step.reset()
        epoch += 1


class Images(Dataset):
    """Images as torchvision's datasets give them: one at a time, through PIL and a transform."""

    def __init__(self, data: GroupedData) -> None:
        self.images, self.labels = data.x.cpu(), data.groups.index.cpu()
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[i, 0].numpy())
        return self.transform(image), int(self.labels[i])


class CommonModel(nn.Module):
    """The same model as most people write it: a layer for each head, a loop over the groups."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(PIXELS, HIDDEN)
        self.style_mean, self.style_log_variance = (nn.Linear(HIDDEN, STYLE) for _ in range(2))
        self.content_mean, self.content_log_variance = (
            nn.Linear(HIDDEN, CONTENT) for _ in range(2)
        )
        self.decode = nn.Linear(CONTENT + STYLE, HIDDEN)
        self.pixel_mean, self.pixel_log_variance = (nn.Linear(HIDDEN, PIXELS) for _ in range(2))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """The loss: minus the mean of the group bounds."""
        x = x.flatten(1)
        h = self.hidden(x).tanh()
        style_mean, style_log_variance = self.style_mean(h), self.style_log_variance(h)
        mean, log_variance = self.content_mean(h), self.content_log_variance(h)
        content = torch.empty(len(x), CONTENT, device=x.device)
        content_kl = 0.0
        groups = labels.unique()
        for group in groups:
            members = (labels == group).nonzero()[:, 0]
            precision = (-log_variance[members]).exp()
            group_variance = 1 / precision.sum(0)
            group_mean = group_variance * (precision * mean[members]).sum(0)
            noise = torch.randn(len(members), CONTENT, device=x.device)
            content[members] = group_mean + group_variance.sqrt() * noise
            kl = group_variance + group_mean**2 - 1 - group_variance.log()
            content_kl = content_kl + 0.5 * kl.sum()
        style = style_mean + (0.5 * style_log_variance).exp() * torch.randn_like(style_mean)
        style_kl = 0.5 * (style_log_variance.exp() + style_mean**2 - 1 - style_log_variance).sum()
        h = self.decode(torch.cat((style, content), 1)).tanh()
        std = (0.5 * self.pixel_log_variance(h).tanh()).exp()
        log_likelihood = Normal(self.pixel_mean(h), std).log_prob(x).sum()
        return (content_kl + style_kl - log_likelihood) / len(groups)


def common_steps(data: GroupedData) -> Iterator[int]:
    """Train the common way: DataLoader, loop over groups, Adam; yield images after each step."""
    model = CommonModel().to(data.device)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    while True:
        for x, labels in DataLoader(Images(data), batch_size=BATCH_SIZE, shuffle=True):
            loss = model(x.to(data.device), labels.to(data.device))
            adam.zero_grad()
            loss.backward()
            adam.step()
            loss.item()
            yield len(x)


def rate(steps: Iterator[int], seconds: float, wait: Callable[[], None]) -> float:
    """Images per second over at least ``seconds``."""
    images, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        images += next(steps)
    wait()
    return images / (time.perf_counter() - start)


def load(root: str | None, device: torch.device) -> tuple[GroupedData, str]:
    """MNIST's training images from ``root``, or random bytes in ten groups."""
    if root is not None:
        return mlvae.data.mnist(root).train.to(device), "MNIST, 50,000 images"
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (50_000, 1, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(10, (50_000,), generator=generator)
    return GroupedData(x, labels).to(device), "random bytes, 50,000 images of 28x28"


def measure(args: argparse.Namespace) -> dict[str, object]:
    """All rounds of all ways, in turn."""
    device = torch.device(args.device)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    data, name = load(args.root, device)
    torch.manual_seed(0)
    ways = {
        "mlvae float32": library_steps(data, "float32"),
        "mlvae bfloat16": library_steps(data, "bfloat16"),
        "common way float32": common_steps(data),
    }
    if device.type == "cuda":
        ways["mlvae float32, eager"] = library_steps(data, "float32", graphs=False)
    for steps in ways.values():
        rate(steps, min(1.0, args.seconds), wait)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(args.rounds):
        for way, steps in ways.items():
            rates[way].append(rate(steps, args.seconds, wait))
    common = rates["common way float32"]
    ratios = {
        way: [a / b for a, b in zip(mine, common, strict=True)] for way, mine in rates.items()
    }
    return {
        "recipe": "experiment=mnist_author, batch 256",
        "data": name,
        **facts(device),
        "images_per_second": rates,
        "ratio_to_common_way": ratios,
    }


def facts(device: torch.device) -> dict[str, object]:
    """What the figures depend on beside the code."""
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def machine(result: dict[str, object]) -> str:
    """The facts in one line."""
    return (
        f"{result['device']}, {result['threads']} threads, torch {result['torch']}, "
        f"Python {result['python']}, {result['date']}"
    )


def _processor() -> str:
    """Name of the processor, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def report(result: dict[str, object]) -> str:
    """The result as a table of medians, with the range over rounds."""
    lines = [
        f"{result['recipe']}; {result['data']}",
        machine(result),
        "",
        f"{'':22}{'images/s':>12}{'s per epoch':>13}{'times the common way':>28}",
    ]
    for way, rates in result["images_per_second"].items():
        ratios = result["ratio_to_common_way"][way]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        median = statistics.median(rates)
        lines.append(f"{way:22}{median:12,.0f}{50_000 / median:13.2f}{spread:>28}")
    return "\n".join(lines)


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    choices = ("training", "data", *MEASUREMENTS)
    add("what", nargs="?", default="training", choices=choices, help="default: training")
    add(
        "--root",
        help="folder with MNIST/raw, or a collection to prepare; without it, random images",
    )
    add("--device", default="cpu", choices=("cpu", "cuda"), help="of training")
    add("--threads", type=int, help="CPU threads; default: torch's own choice")
    add("--rounds", type=int, help="turns of each way; default: 5, of data 3")
    add("--seconds", type=float, help="length of a turn; default: 5, of data 1")
    add("--json", help="also write the result to this file")
    data = parser.add_argument_group("measurements of data")
    add = data.add_argument
    add(
        "--folder",
        help="where to write what is measured, and removed again; default: the system's",
    )
    add("--gigabytes", type=float, default=0.25, help="images on the disk; default: 0.25")
    add(
        "--images", type=int, help="images to prepare; default: 1000 of each format, all of --root"
    )
    add("--identities", type=int, default=1_000_000, help="to group at most; default: 1,000,000")
    return parser


def main() -> None:
    """Parse the command line, measure, print."""
    args = options().parse_args()
    rounds, seconds = (5, 5.0) if args.what == "training" else (3, 1.0)
    args.rounds = rounds if args.rounds is None else args.rounds
    args.seconds = seconds if args.seconds is None else args.seconds
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    try:
        if args.what == "training":
            result = measure(args)
            print(report(result))
        else:
            result = facts(torch.device("cpu"))
            print(machine(result))
            result |= run(args)
    except (mlvae.InputError, OSError) as error:
        sys.exit(f"error: {error}")
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
