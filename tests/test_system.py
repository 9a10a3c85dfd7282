"""Other operating systems, simulated: calls of POSIX are taken away, or fail as on Windows."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import torch

import mlvae
from mlvae import InputError, system
from mlvae.data import StoredImages
from mlvae.data.collections import images
from mlvae.training.checks import check_precision, resolve_device
from mlvae.training.files import append, replace_file
from mlvae.training.sums import RunningSums, sum_dtype

#: Takes away what Windows lacks, before the library is imported. Folders cannot be opened. The
#: locks of msvcrt are made of those of fcntl.
WINDOWS = """
import errno, os, select, signal, sys, types
import fcntl as posix
# Packages that have code for each system, and here need the calls of this one.
import torch, tqdm, sklearn.datasets, PIL.Image, torchvision.utils
import torch.utils.tensorboard.writer
sys.modules["fcntl"] = None

def locking(number, mode, size):
    try:
        posix.flock(number, posix.LOCK_EX | posix.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EACCES, "Permission denied")

sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
for name in ("preadv", "pread", "posix_fadvise", "sched_getaffinity", "sysconf", "O_NOFOLLOW",
             "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY"):
    delattr(os, name)
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGPROF", "setitimer"):
    delattr(signal, name)
del select.poll
os.O_BINARY = 0
opened = os.open

def open_no_folder(path, *arguments, **options):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return opened(path, *arguments, **options)

os.open = open_no_folder
"""

TRAINING = """
import mlvae
from mlvae import InputError

def fit(**options):
    torch.manual_seed(0)
    data = mlvae.GroupedData(torch.rand(32, 1, 8, 8), torch.arange(32) % 4)
    model = mlvae.models.MLVAE(data.shape, network=mlvae.networks.MLP((8,)))
    reports = mlvae.Reports(log_every=1, progress=False)
    return mlvae.train(model, data, run="run", epochs=2, device="cpu", reports=reports, **options)

def again(step, values):
    try:
        fit()
    except InputError as error:
        print(error)

assert fit(on_report=again).finished
assert fit(resume=True).finished
print(len(mlvae.history("run")), sorted(os.listdir("run/figures")), os.path.exists("run/lock"))
print(type(mlvae.load("run")).__name__)
"""

COLLECTION = """
import mlvae
from mlvae.data.collections import images

splits = mlvae.data.faces("people", cache="cache", size=8, workers=1, validation=0, test=0)
again = mlvae.data.faces("people", cache="cache", size=8, workers=1, validation=0, test=0)
x = again.train.observations(torch.arange(len(again.train)))
print(len(splits.train), tuple(x.shape), float(x.std()) > 0.1, images.OVERRAN)
"""


def run(code, folder):
    """The output of a process that runs ``code`` in ``folder``."""
    environment = {**os.environ, "PYTHONPATH": str(Path(mlvae.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", textwrap.dedent(code)],
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def without_posix(tmp_path_factory):
    """The lines that a training and a preparation print without the calls of POSIX.

    One process does both: it needs seconds to start.
    """
    from PIL import Image

    folder = tmp_path_factory.mktemp("windows")
    generator = torch.Generator().manual_seed(0)
    for person in ("ann", "bob"):
        (folder / "people" / person).mkdir(parents=True)
        for number in range(3):
            pixels = torch.randint(0, 255, (8, 8), dtype=torch.uint8, generator=generator)
            path = folder / "people" / person / f"{number}.png"
            Image.fromarray(pixels.numpy()).save(path)
    lines = run(f"{WINDOWS}{TRAINING}print('prepared')\n{COLLECTION}", folder)
    place = lines.index("prepared")
    return lines[:place], lines[place + 1 :]


def test_without_the_calls_of_posix_a_run_is_trained_locked_resumed_and_loaded(without_posix):
    *refused, files, model = without_posix[0]
    assert len(refused) == 2 and all("is locked by a training" in line for line in refused)
    assert files.endswith("['reconstructions.png', 'swaps.png'] True")
    assert model == "MLVAE"


def test_without_the_calls_of_posix_a_collection_is_prepared_and_read(without_posix):
    assert without_posix[1][-1] == "6 (6, 3, 8, 8) True 75"


# Locks


class Msvcrt:
    """The locks of Windows: a second lock of a file fails until the first is released."""

    LK_NBLCK = 2

    def __init__(self, number=errno.EACCES, held=0):
        self.number, self.held, self.attempts = number, held, 0

    def locking(self, number, mode, size):
        assert (mode, size, os.lseek(number, 0, os.SEEK_CUR)) == (2, 1, 0)
        self.attempts += 1
        if self.attempts <= self.held:
            raise OSError(self.number, os.strerror(self.number))


@pytest.fixture
def file(tmp_path):
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(number, bytes(range(100)))
    yield number
    os.close(number)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EDEADLK])
def test_a_lock_of_windows_is_waited_for_or_refused(number, file, monkeypatch):
    monkeypatch.setattr(system, "fcntl", None)
    monkeypatch.setattr(system, "PAUSE", 0.001)
    monkeypatch.setattr(system, "msvcrt", Msvcrt(number, held=3))
    with pytest.raises(BlockingIOError):
        system.lock(file)
    system.lock(file, wait=True)
    assert system.msvcrt.attempts == 4


def test_a_system_or_a_file_system_without_locks_says_so(file, monkeypatch):
    monkeypatch.setattr(system, "fcntl", None)
    with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)):
        system.lock(file)
    monkeypatch.setattr(system, "msvcrt", Msvcrt(errno.EIO, held=1))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        system.lock(file, wait=True)


def test_a_lock_of_posix_keeps_another_descriptor_out(tmp_path):
    first, second = (system.opened_for_lock(tmp_path) for _ in range(2))
    system.lock(first)
    with pytest.raises(BlockingIOError):
        system.lock(second)
    waiting = threading.Thread(target=system.lock, args=(second,), kwargs={"wait": True})
    waiting.start()
    time.sleep(0.05)
    assert waiting.is_alive()
    os.close(first)
    waiting.join(10)
    assert not waiting.is_alive()
    os.close(second)


# Files


@pytest.mark.parametrize("missing", [False, True])
def test_bytes_are_read_at_an_offset(missing, file, monkeypatch):
    if missing:
        monkeypatch.delattr(os, "preadv")
    into = memoryview(bytearray(10))
    assert system.read_at(file, into, 20) == 10 and bytes(into) == bytes(range(20, 30))
    assert system.read_at(file, into, 95) == 5 and bytes(into[:5]) == bytes(range(95, 100))


def test_threads_read_their_own_rows_without_preadv(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "preadv")
    pixels = torch.arange(200, dtype=torch.uint8)[:, None].expand(200, 64).contiguous()
    (tmp_path / "x").write_bytes(pixels.numpy().tobytes())
    stored, wrong = StoredImages(tmp_path / "x", (200, 64)), []

    def read(seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(20):
            rows = torch.randint(200, (50,), generator=generator)
            if not torch.equal(stored.index_select(0, rows), pixels[rows]):
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_flags_that_a_system_lacks_are_left_out(monkeypatch):
    assert system.open_flags("O_RDWR", "O_CREAT") == os.O_RDWR | os.O_CREAT
    monkeypatch.delattr(os, "O_NOFOLLOW")
    monkeypatch.setattr(os, "O_BINARY", 1 << 25, raising=False)
    assert system.open_flags("O_RDWR", "O_NOFOLLOW") == os.O_RDWR | 1 << 25


def test_without_nofollow_no_write_follows_a_link(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_NOFOLLOW")
    (tmp_path / "theirs").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        append(tmp_path / "link", "more")
    replace_file(tmp_path / "link", b"own")
    assert (tmp_path / "theirs").read_text() == "kept"
    append(tmp_path / "new", "a\n")
    append(tmp_path / "new", "b\n")
    assert (tmp_path / "new").read_bytes() == b"a\nb\n"


def test_without_sysconf_the_memory_has_no_limit(monkeypatch):
    assert 2**27 < system.memory() < 2**60
    monkeypatch.delattr(os, "sysconf")
    assert system.memory() == float("inf")


def test_the_time_of_an_image_is_limited_by_a_thread_without_a_timer():
    code = """
    import signal
    del signal.setitimer
    from mlvae.data.collections import images
    import time
    with images._limited(60):
        pass
    with images._limited(0.1):
        time.sleep(600)
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(mlvae.__file__).parents[1])}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, env=environment, timeout=300, check=False).returncode == 75
    assert images.OVERRAN == -signal.SIGPROF


# Apple's GPU


@pytest.fixture
def apple(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


def test_auto_finds_the_gpu_of_apple(apple, monkeypatch):
    assert resolve_device("auto").type == resolve_device("mps").type == "mps"
    assert resolve_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"


def test_without_a_gpu_of_apple_it_is_refused(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(InputError, match=r"device=mps.*device=cpu"):
        resolve_device("mps")


def test_work_in_float64_is_done_on_the_cpu(apple):
    assert resolve_device("auto", float64=True).type == "cpu"
    with pytest.raises(InputError, match=r"device=mps.*float64.*device=cpu"):
        resolve_device("mps", float64=True)
    with pytest.raises(InputError, match=r"tf32.*mps"):
        check_precision("tf32", torch.device("mps"))


def test_sums_on_the_gpu_of_apple_are_float32_and_saved_as_float64(monkeypatch):
    assert sum_dtype(torch.device("mps")) == torch.float32
    assert sum_dtype(torch.device("cuda")) == sum_dtype(torch.device("cpu")) == torch.float64
    monkeypatch.setattr("mlvae.training.sums.sum_dtype", lambda device: torch.float32)
    sums = RunningSums(torch.device("cpu"))
    terms = {"loss": torch.tensor(2.0), "observations": torch.tensor(4.0)}
    sums.add(terms, {"loss": "observation"})
    assert sums.totals.dtype == torch.float32
    saved = sums.state_dict()
    assert saved["sums"].dtype == torch.float64 and saved["sums"].tolist() == [2.0, 4.0]
    again = RunningSums(torch.device("cpu"))
    again.load_state_dict(saved)
    assert again.totals.dtype == torch.float32


def test_a_training_step_and_a_validation_make_no_float64_where_there_is_none(
    small_model, digits, tmp_path, monkeypatch
):
    from torch.utils._python_dispatch import TorchDispatchMode

    from mlvae.training import loop, trainer

    found = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            outs = out if isinstance(out, tuple | list) else [out]
            if any(isinstance(o, torch.Tensor) and o.dtype == torch.float64 for o in outs):
                found.append(str(func))
            return out

    def watched(function):
        def call(*args, **kwargs):
            with Watch():
                return function(*args, **kwargs)

        return call

    for place in ("sums", "step", "validation", "speed.stepper"):
        monkeypatch.setattr(f"mlvae.training.{place}.sum_dtype", lambda device: torch.float32)
    monkeypatch.setattr(trainer, "training_step", watched(trainer.training_step))
    monkeypatch.setattr(loop, "evaluate_bound", watched(loop.evaluate_bound))
    options = {
        "validation": digits.validation,
        "optimizer": mlvae.Adam(schedule="cosine"),
        "warmup": mlvae.Warmup(kl_steps=3),
        "reports": mlvae.Reports(progress=False),
        "device": "cpu",
        "epochs": 1,
    }
    mlvae.train(small_model(), digits.train, run=tmp_path / "run", **options)
    assert found == []
    monkeypatch.setattr("mlvae.training.sums.sum_dtype", lambda device: torch.float64)
    mlvae.train(small_model(), digits.train, run=tmp_path / "other", **options)
    assert found  # the watch sees it
