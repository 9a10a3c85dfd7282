"""Two machines train one run; network namespaces with an address each stand for the machines.

This file is also a program: the training that torchrun starts on each machine.
"""

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

import mlvae
from mlvae.data import Shuffled
from mlvae.networks import MLP

ADDRESSES = ("10.213.77.1", "10.213.77.2")
DEVICES = ("mlvae-a", "mlvae-b")
PORT = 29511


def fit(folder):
    """Train on digits in a run; the network of the machine is noted beside it."""
    torch.manual_seed(0)
    digits = mlvae.data.digits()
    model = mlvae.models.MLVAE(digits.train.shape, network=MLP(hidden=(16,)))
    intervals = {"log_every": 5, "validate_every": None, "pictures_every": None}
    reports = mlvae.Reports(**intervals, progress=False)
    options = {"epochs": 2, "batching": Shuffled(200), "reports": reports, "device": "cpu"}
    mlvae.train(model, digits.train, run=folder / "run", **options)
    network = str(Path("/proc/self/ns/net").readlink())
    place = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "GROUP_WORLD_SIZE")}
    (folder / f"rank-{os.environ.get('RANK')}.json").write_text(json.dumps([network, place]))


def run(*command):
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture
def machines():
    """Commands that run a program in each of two namespaces, joined by a pair of devices."""
    if missing := [name for name in ("ip", "unshare", "nsenter") if shutil.which(name) is None]:
        pytest.skip(f"network namespaces need {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with ExitStack() as stack:
        inside = []
        for _ in range(2):  # the namespace is that of a program that waits, and ends with it
            waits = [sys.executable, "-c", "print('ready', flush=True); input()"]
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            holder = stack.enter_context(
                subprocess.Popen(["unshare", "--net", *waits], text=True, **pipes)
            )
            stack.callback(holder.kill)
            assert holder.stdout is not None and holder.stderr is not None
            if holder.stdout.readline() != "ready\n":
                pytest.skip(f"no network namespace: {holder.stderr.read().strip()}")
            inside.append((holder.pid, ["nsenter", "--net", "--target", str(holder.pid)]))
        (_, enter), (second, _) = inside
        pair = [*enter, "ip", "link", "add", DEVICES[0], "type", "veth"]
        made = run(*pair, "peer", "name", DEVICES[1], "netns", str(second))
        if made.returncode:
            pytest.skip(f"no pair of network devices: {made.stderr.strip()}")
        for (_, within), device, address in zip(inside, DEVICES, ADDRESSES, strict=True):
            for words in (
                ["addr", "add", f"{address}/24", "dev", device],
                ["link", "set", device, "up"],
                ["link", "set", "lo", "up"],
            ):
                done = run(*within, "ip", *words)
                assert done.returncode == 0, done.stderr
        yield [within for _, within in inside]


def started(within, device, address, folder):
    """The torchrun of one machine."""
    options = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-id=machines"]
    options += [f"--rdzv-endpoint={ADDRESSES[0]}:{PORT}", f"--local-addr={address}"]
    # The name of this computer stands for neither address, so the host of the store is named.
    options += [f"--rdzv-conf=is_host={int(address == ADDRESSES[0])}"]
    command = [*within, sys.executable, "-m", "torch.distributed.run", *options, __file__, folder]
    environment = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": device}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=os.environ | environment, **pipes)


def test_two_machines_train_as_one_process(machines, tmp_path):
    """Twenty seconds: two processes of torchrun and two trainings import PyTorch."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder in (alone, together):
        folder.mkdir()
    places = zip(machines, DEVICES, ADDRESSES, strict=True)
    with ExitStack() as stack:
        agents = [stack.enter_context(started(*place, together)) for place in places]
        for agent in agents:
            stack.callback(agent.kill)
        fit(alone)
        said = [agent.communicate(timeout=120)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    notes = [json.loads((together / f"rank-{rank}.json").read_text()) for rank in range(2)]
    own = str(Path("/proc/self/ns/net").readlink())
    assert len({own, *(network for network, _ in notes)}) == 3
    assert {place["GROUP_WORLD_SIZE"] for _, place in notes} == {"2"}
    assert {place["WORLD_SIZE"] for _, place in notes} == {"2"}
    whole, shared = (folder / "run" for folder in (alone, together))
    model, other = (mlvae.load(folder).state_dict() for folder in (whole, shared))
    for name, value in model.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6)
    curves = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (whole, shared)]
    assert len(curves[0]) == len(curves[1]) > 2
    for one, both in zip(*curves, strict=True):
        losses = [json.loads(line).get("train/loss", 0.0) for line in (one, both)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


if __name__ == "__main__":
    fit(Path(sys.argv[1]))
