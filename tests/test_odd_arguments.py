"""Odd values for every parameter of every public function, class and method.

Each call of the table is valid. A test replaces one argument by an odd value. The call must then
work, if the table allows the value, or raise an InputError in one short line.
"""

# ruff: noqa: C408 (in the table, a keyword is a parameter)

import importlib
import inspect
import itertools
import struct
from functools import cache
from typing import NamedTuple

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat, wavfile

import mlvae
from mlvae import (
    Batch,
    DiagonalGaussian,
    Dirichlet,
    Evidence,
    GroupedData,
    Groups,
    InputError,
    Point,
    evaluation,
    grids,
    likelihoods,
    models,
    networks,
)
from mlvae import data as data_module
from mlvae.costs import Separation
from mlvae.data import Splits
from mlvae.likelihoods import ColumnScale, MixedColumns
from mlvae.networks import MLP
from mlvae.objectives import GroupingTerms

#: Modules whose public names the table must have.
MODULES = (
    "",
    "models",
    "data",
    "likelihoods",
    "networks",
    "evaluation",
    "grids",
    "show",
    "training",
)

#: Longest message, in characters.
LONGEST = 400


def generator_of_numbers():
    yield from range(3)


#: Odd values by name. Each is built anew, because a call may change it.
ODD = {
    "None": lambda: None,
    "''": lambda: "",
    "'a'": lambda: "a",
    "b'a'": lambda: b"a",
    "True": lambda: True,
    "-1": lambda: -1,
    "0": lambda: 0,
    "1.5": lambda: 1.5,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "10^30": lambda: 10**30,
    "[]": list,
    "[None]": lambda: [None],
    "{}": dict,
    "set": lambda: {1},
    "object": object,
    "class": lambda: int,
    "generator": generator_of_numbers,
    "int64": lambda: np.int64(2),
    "float64": lambda: np.float64(0.5),
    "array": lambda: np.zeros((2, 3, 4), np.float32),
    "integer array": lambda: np.arange(7),
    "tensor": lambda: torch.zeros(7, 5, 2),
    "complex": lambda: torch.zeros(6, 3, dtype=torch.complex64),
    "nan tensor": lambda: torch.full((6, 3), torch.nan),
}


class Arg(NamedTuple):
    """A valid argument.

    Attributes:
        build: makes the value.
        allowed: names of the odd values that are valid too.
    """

    build: object
    allowed: frozenset


def arg(value, *allowed):
    """A valid argument; a function without a name is called to make it."""
    lazy = inspect.isfunction(value) and value.__name__ == "<lambda>"
    return Arg(value if lazy else lambda: value, frozenset(allowed))


def optional(argument):
    return argument._replace(allowed=argument.allowed | {"None"})


def count(value=2):
    """An integer of at least 1."""
    return arg(value, "int64")


def whole(value=0):
    """An integer of at least 0."""
    return arg(value, "int64", "0")


def positive(value=0.5):
    """A number above 0."""
    return arg(value, "1.5", "10^30", "int64", "float64")


def at_least_0(value=0.5):
    return arg(value, "0", "1.5", "10^30", "int64", "float64")


def fraction(value=0.0):
    return arg(value, "0", "float64")


def flag(value=False):
    return arg(value, "True")


def anything(value=None):
    return arg(value, *ODD)


# Small valid objects

LABELS = [0, 0, 0, 1, 1, 1]


@cache
def data(kind="images"):
    shape = {"images": (6, 1, 8, 8), "rows": (6, 3)}[kind]
    x = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
    return GroupedData(x, LABELS, {"light": range(6)}, given={"mask": np.ones(6, np.float32)})


@cache
def batch():
    return data().batch()


@cache
def gaussian(rows=6):
    return DiagonalGaussian(torch.zeros(rows, 3), torch.zeros(rows, 3))


@cache
def groups():
    return Groups.of(LABELS)


def mlvae_model(**options):
    options = {"content_dim": 2, "style_dim": 2, "network": MLP((4,))} | options
    return models.MLVAE((1, 8, 8), **options)


@cache
def model():
    return mlvae_model()


@cache
def of_two():
    return mlvae_model(content_dim={"a": 2, "b": 3})


@cache
def two_groupings():
    return data().regrouped({"a": LABELS, "b": [7, 7, 8, 8, 8, None]})


@cache
def vae():
    return models.VAE((1, 8, 8), latent_dim=2, network=MLP((4,)))


def columns():
    return MixedColumns((ColumnScale("age"), ColumnScale("smokes", "binary")))


@cache
def vsae():
    return models.VSAE((2,), likelihood=columns(), network=MLP((4,)))


def roles():
    return models.Roles("smokes", "age")


@cache
def dcevae():
    return models.DCEVAE((2,), roles=roles(), likelihood=columns(), network=MLP((4,)))


def complete():
    x = np.array([[0.1, 1.0], [0.5, 0.0], [1.0, 1.0]], np.float32)
    return GroupedData(x, range(3), kind="array")


@cache
def cells():
    observed = np.array([[True, False], [True, True], [False, True]])
    x = np.ones((3, 2), np.float32)
    return GroupedData(x, range(3), given={"observed": observed}, kind="array")


@cache
def conditional():
    return models.ConditionalVAE(
        (1, 8, 8), group_names=[0, 1], content_dim=2, style_dim=2, network=MLP((4,))
    )


@cache
def coded():
    return models.SVQVAE((1, 8, 8), group_names=[0, 1], latent_dim=2, network=MLP((4,)))


@cache
def table():
    return np.array([[a, b] for a in range(3) for b in range(2)] * 10, float)


def splits():
    return Splits(data(), test=data())


def write_signals(root):
    sound = (1000 * np.sin(np.arange(900) / 3)).astype(np.int16)
    for name in ("sounds/ann/", "sounds/bob/", "sounds/eve/", "fsdd/1_ann_", "fsdd/2_bob_"):
        for take in range(8):
            path = root / f"{name}{take}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            wavfile.write(path, 8000, sound)


def write_plate(path):
    wells = [("DMSO", "ctl_vehicle", "-666")] * 3
    wells += [(drug, "trt_cp", dose) for drug in "abc" for dose in ("1", "2.2", "3", "4", "10")]
    fields = zip(("pert_iname", "pert_type", "pert_dose"), zip(*wells, strict=True), strict=True)
    header = ["id", "pr_gene_symbol", *(f"well{number}" for number in range(len(wells)))]
    rows = [[f"g{i}", f"G{i}", *((i + 2) * n % 11 for n in range(len(wells)))] for i in range(3)]
    about = [[name, "na", *texts] for name, texts in fields]
    lines = ["#1.3", f"3\t{len(wells)}\t1\t3"]
    lines += ["\t".join(map(str, line)) for line in (header, *about, *rows)]
    path.write_text("\n".join(lines) + "\n")


def write_tables(root):
    """Six red wines, and a table of HI-VAE with two hidden cells."""
    wines = [" ".join(str(row + column) for column in range(12)) for row in range(6)]
    (root / "winequality-red.csv").write_text("\n".join(wines))
    (root / "data.csv").write_text("".join(f"{row + 1},{row % 2}\n" for row in range(6)))
    (root / "data_types.csv").write_text("type,dim,nclass\npos,1,\ncat,2,2\n")
    for mask in (1, 2):
        (root / f"Missing20_{mask}.csv").write_text("1,1\n3,2\n")


def write_published(folder):
    folder.mkdir()
    (folder / "cars").mkdir()
    savemat(
        folder / "cars" / "car_001_mesh.mat",
        {"im": np.zeros((128, 128, 3, 24, 4), np.uint8)},
        do_compression=True,
    )
    latents = np.zeros((12, 6), int)
    latents[:, 1] = np.arange(12) % 3
    images = np.zeros((12, 64, 64), np.uint8)
    arrays = {"imgs": images, "latents_classes": latents, "latents_values": latents * 1.0}
    np.savez(folder / "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz", **arrays)
    with h5py.File(folder / "3dshapes.h5", "w") as file:
        file["images"], file["labels"] = np.zeros((12, 64, 64, 3), np.uint8), latents * 1.0
    for name in ("5x46789x9x18x6x2x96x96-training", "5x01235x9x18x6x2x96x96-testing"):
        arrays = {"dat": np.zeros((5, 2, 96, 96), np.uint8), "cat": np.arange(5, dtype="<i4")}
        arrays["info"] = np.zeros((5, 4), "<i4")
        for kind, array in arrays.items():
            magic = 0x1E3D4C55 if array.dtype.kind == "u" else 0x1E3D4C54
            lengths = [*array.shape, 1, 1][: max(3, array.ndim)]
            header = struct.pack(f"<{2 + len(lengths)}I", magic, array.ndim, *lengths)
            (folder / f"smallnorb-{name}-{kind}.mat").write_bytes(header + array.tobytes())


def write_idx(folder):
    """Four small files of MNIST's format."""
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        images = np.random.default_rng(0).integers(0, 256, (20, 5, 4), dtype=np.uint8)
        for name, values in (
            ("images-idx3", images),
            ("labels-idx1", np.arange(20, dtype=np.uint8) % 4),
        ):
            head = struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape)
            (folder / f"{part}-{name}-ubyte").write_bytes(head + values.tobytes())


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory):
    """A folder with small collections and a run, for place()."""
    root = tmp_path_factory.mktemp("odd")
    for name in ("MNIST", "FashionMNIST"):
        write_idx(root / name / "raw")
    for name in ("ann", "bob", "eve"):
        (root / "people" / name).mkdir(parents=True)
        for number in range(2):
            pixels = np.random.default_rng([number, ord(name[0])]).integers(
                0, 256, (9, 9), np.uint8
            )
            Image.fromarray(pixels).save(root / "people" / name / f"{number}.png")
    for number, name in enumerate(("ann", "ann", "bob", "bob", "eve", "eve")):
        image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 9), np.uint8))
        places = (
            f"lfw/{name}/{name}_{number:04}.jpg",
            f"yale/yaleB{ord(name[0])}/yaleB{ord(name[0])}_P00A+{number:03}E+10.pgm",
            f"omniglot/Latin/character{ord(name[0])}/{number:04}_{number:02}.png",
            f"celeba/img_align_celeba/{number:06}.jpg",
        )
        for place in places:
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            image.save(root / place)
    identities = "".join(f"{number:06}.jpg {number // 2}\n" for number in range(6))
    (root / "celeba" / "identity_CelebA.txt").write_text(identities)
    np.savez(root / "data.npz", x=np.zeros((6, 3)), group=LABELS)
    walk = np.arange(60, dtype=np.float32).reshape(30, 2)
    np.savez(root / "walks.npz", x=walk, action=np.zeros(30, np.int64))
    rows = [f"{'ab'[label]},{number}\n" for number, label in enumerate(LABELS)]
    (root / "table.csv").write_text("donor,age\n" + "".join(rows))
    texts = [f"{'ab'[label]},alpha beta{number}\n" for number, label in enumerate(LABELS)]
    (root / "texts.csv").write_text("kind,text\n" + "".join(texts))
    np.zeros((6, 1, 2, 2), np.uint8).tofile(root / "images.raw")
    np.save(root / "array.npy", np.zeros((6, 2, 2, 1), np.float32))
    write_signals(root)
    write_published(root / "published")
    write_plate(root / "plate.gct")
    write_tables(root)
    quiet = mlvae.Reports(progress=False)
    options = {"run": root / "run", "epochs": 1, "reports": quiet, "device": "cpu"}
    mlvae.train(mlvae_model(), data(), validation=data(), **options)
    PLACE.append(root)
    yield
    PLACE.clear()


@pytest.fixture(autouse=True)
def work_in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


PLACE = []


def place(name):
    return PLACE[0] / name


# The table of calls

SEED = {"seed": whole()}
DRAW = {"generator": optional(arg(lambda: torch.Generator()))}
PARTS = {
    "network": arg(lambda: MLP((4,))),
    "likelihood": arg(likelihoods.Bernoulli()),
    "standardise": optional(arg(None)),
}
SCHEDULED = {
    "learning_rate": positive(),
    "schedule": arg("constant"),
    "warmup_steps": whole(),
    "decay_steps": count(),
    "decay_factor": positive(),
    "gradient_clip": optional(positive()),
    "learning_rates": arg(lambda: {"encoder": 0.1}, "{}"),
}
CODES = {"codes": arg(lambda: table()), "factors": arg(lambda: table())}
IMAGES = arg(lambda: data().x)
HELD = {"validation": whole(1), "test": whole(1), "unseen_groups": arg([], "[]"), **SEED}
#: A count or a fraction.
SHARE = arg(1, "0", "int64", "float64")
SHARED = {**HELD, "validation": SHARE, "test": SHARE}
TRAJECTORIES = {
    "trajectories": count(),
    "steps": count(),
    "validation": whole(1),
    "test": whole(1),
    "episodes": whole(1),
    "length": count(),
    **SEED,
}
PUBLISHED = {
    "root": arg(lambda: place("published")),
    "group_by": arg("shape"),
    "images": optional(arg(9)),
    "split": arg("observations"),
    "validation": SHARE,
    "test": SHARE,
    "within": arg(0.0, "0"),
    "unseen_groups": arg([], "[]"),
    **SEED,
}
FACES = {
    "cache": arg(lambda: place("cache"), "'a'"),
    "table": optional(arg(None)),
    "pattern": optional(arg(None)),
    "group": arg("identity"),
    "factors": arg((), "[]"),
    "size": count(),
    "colour": flag(),
    "crop": arg(1.0, "float64"),
    "minimum": count(1),
    "maximum": optional(count()),
    "split": arg("groups"),
    "validation": arg(0.0, "0", "int64", "float64", "[]"),
    "test": arg(0.0, "0", "int64", "float64", "[]"),
    "within": fraction(),
    "seed": whole(),
    "limit": optional(arg(6, "int64")),
    "strict": flag(),
    "workers": optional(arg(0, "0", "int64")),
    "name": arg("faces", "'a'"),
    "labels": optional(arg(None)),
    "parts": optional(arg(None)),
    "part": optional(arg(None)),
    "hands": optional(arg(None)),
}
#: Options of a named dataset.
NAMED = {name: value for name, value in FACES.items() if name not in ("pattern", "labels")}
BATCH = arg(lambda: batch())
LATENTS = arg(lambda: torch.zeros(6, 2))
ROWS = arg(lambda: torch.zeros(6, 3), "nan tensor")
PER_GROUP = arg(lambda: torch.zeros(2, 3))
GROUPS = arg(lambda: groups())
LABELLED = arg(LABELS)
VIEW = dict(
    model=arg(lambda: model()),
    x=IMAGES,
    groups=arg(LABELS),
    labels=optional(arg(["a", "b"])),
    most=count(),
)
DEVICE = arg("cpu")

#: Functions and classes by name, with valid arguments.
CALLS = {
    # mlvae
    "Adam": dict(
        **SCHEDULED,
        betas=arg((0.9, 0.99)),
        eps=positive(),
        weight_decay=at_least_0(),
        amsgrad=flag(),
    ),
    "Batch": dict(
        x=ROWS,
        groups=GROUPS,
        given=arg(lambda: {"a": torch.zeros(6)}, "{}"),
        further_groups=arg(lambda: {"b": groups()}, "{}"),
        grouping=arg("a", "'a'"),
    ),
    "DiagonalGaussian": dict(mean=ROWS, log_variance=ROWS),
    "Dirichlet": dict(concentration=arg(lambda: torch.ones(6, 3)), prior=positive()),
    "Evidence": dict(log_precision=ROWS, mean=ROWS),
    "GroupedData": dict(
        x=arg(lambda: np.zeros((6, 3))),
        group=LABELLED,
        groups=arg(None, "None"),
        factors=optional(arg({"a": range(6)}, "{}")),
        given=optional(arg({"a": range(6)}, "{}")),
        names=optional(arg(list("abcdef"))),
        feature_names=optional(arg(["a", "b", "c"])),
        kind=arg("auto"),
    ),
    "encode": dict(
        model=arg(lambda: model()),
        x=IMAGES,
        groups=optional(arg(LABELS)),
        batch_size=count(),
        variances=flag(),
        frame=optional(flag()),
        progress=flag(),
    ),
    "counterfactual": dict(
        model=arg(lambda: dcevae()),
        table=arg(lambda: complete()),
        intervention=arg({"smokes": 1}),
        keep_noise=flag(),
        draws=optional(count()),
        seed=whole(),
    ),
    "models.Roles": dict(
        intervention=arg("a", "'a'"), outcome=arg("y", "'a'"), caused=arg(("d",), "[]")
    ),
    "models.DCEVAE": dict(
        shape=arg((2,)),
        roles=arg(lambda: roles()),
        caused_dim=count(),
        rest_dim=count(),
        network=arg(MLP((4,))),
        likelihood=arg(lambda: columns()),
        kl_weight=at_least_0(),
        rest_kl_weight=at_least_0(),
        posterior=arg("published"),
        independence_weight=at_least_0(),
        fairness_weight=at_least_0(),
        critic_width=count(),
    ),
    "data.digit_parts": dict(
        missing=arg(0.5, "0", "float64"), validation=SHARE, test=SHARE, seed=whole()
    ),
    "data.donors": dict(
        number=arg(20, "int64"),
        rows=count(),
        missing=arg(0.5, "0", "float64"),
        validation=count(),
        test=count(),
        seed=whole(),
    ),
    "data.scm": dict(rows=arg(20), validation=SHARE, test=SHARE, seed=whole()),
    "impute": dict(
        model=arg(lambda: vsae()),
        table=arg(lambda: cells()),
        groups=optional(arg(None)),
        draws=optional(count()),
        samples=count(),
        batch_size=count(),
        seed=whole(),
    ),
    "data.Column": dict(name=arg("a", "'a'"), kind=arg("categorical"), categories=arg(("x", "y"))),
    "data.Columns": dict(
        features=arg(lambda: (data_module.Column("a"),)),
        group=optional(arg("b", "'a'")),
        factors=arg(("c",), "[]"),
    ),
    "Groups": dict(index=arg(LABELS), num_groups=optional(count())),
    "Objective": dict(
        losses=arg(lambda: {"model": torch.zeros(())}),
        per_observation=arg(lambda: {"a": torch.zeros(6)}, "{}"),
        num_observations=arg(6),
        per_group=arg(lambda: {"a": torch.zeros(2)}, "{}"),
        scalars=arg(lambda: {"a": torch.zeros(())}, "{}"),
        elbo=optional(arg(lambda: torch.zeros(2))),
        num_groups=count(),
        per_grouping=arg(
            lambda: {"a": GroupingTerms({"b": torch.zeros(2)}, torch.tensor(2.0))}, "{}"
        ),
    ),
    "Point": dict(mean=arg(lambda: torch.zeros(6, 3), "nan tensor", "tensor")),
    "Reports": dict(
        log_every=optional(count()),
        validate_every=optional(count()),
        pictures_every=optional(count()),
        checkpoint_seconds=optional(at_least_0()),
        progress=flag(),
        advice=flag(),
        tensorboard=flag(),
        figures=flag(),
    ),
    "Speed": dict(
        precision=arg("float32"), cuda_graphs=flag(), steps_per_graph=count(), compile=flag()
    ),
    "Torch": dict(
        optimizer=arg("SGD"), options=optional(arg({"momentum": 0.5}, "{}")), **SCHEDULED
    ),
    "Warmup": dict(
        kl_steps=whole(),
        content_first_steps=whole(),
        content_first_weight=at_least_0(),
        information_after=fraction(),
        entanglement_steps=whole(),
    ),
    "build": dict(
        shape=arg((1, 8, 8)),
        config=arg(lambda: vae().config),
        group_names=optional(arg(["a"], *ODD)),  # a VAE has no names
        parts=arg([], "[]"),
        data=optional(arg(lambda: cells())),
    ),
    "load": dict(
        run=arg(lambda: place("run")),
        best=flag(),
        device=DEVICE,
        model=optional(arg(lambda: mlvae_model())),
        parts=arg([], "[]"),
    ),
    "history": dict(run=arg(lambda: place("run")), frame=flag()),
    "train": dict(
        model=arg(lambda: mlvae_model()),
        data=arg(lambda: data()),
        validation=optional(arg(lambda: data())),
        run=optional(arg(lambda: f"runs/{next(NUMBER)}", "'a'")),
        resume=arg(False),
        batching=arg(lambda: data_module.Shuffled(4)),
        augmentation=optional(arg(data_module.GroupWarp())),
        optimizer=arg(mlvae.Adam()),
        warmup=arg(mlvae.Warmup()),
        epochs=count(1),
        patience=optional(arg(None, "int64")),
        speed=arg(mlvae.Speed()),
        reports=arg(mlvae.Reports(progress=False)),
        device=DEVICE,
        seed=whole(),
        config=optional(arg({"a": 1}, "{}")),
        on_report=optional(arg(lambda: lambda step, values: None)),
    ),
    # mlvae.models
    "models.MLVAE": dict(
        shape=arg((3,)),
        content_dim=count(),
        style_dim=count(),
        **PARTS,
        accumulation=arg("product"),
        evidence_from=arg("all"),
        content_draw=arg("observation"),
        content_kl_weight=at_least_0(),
        style_kl_weight=at_least_0(),
        content_capacity=optional(at_least_0()),
        style_capacity=optional(at_least_0()),
        batch_groups=arg("whole"),
        style_given_content=flag(),
        style_dropout=flag(True),
        separation=arg(Separation()),
        content_family=arg("gaussian"),
        content_alpha=arg(1.0),
        nested=arg((), "[]", "None"),
        cells=optional(arg(None)),
    ),
    "models.DirVAE": dict(
        shape=arg((3,)),
        latent_dim=count(),
        **PARTS,
        kl_weight=at_least_0(),
        prior_alpha=arg(0.98, "1.5", "int64", "float64"),
        prior_update=arg("fixed"),
        sampler=arg("implicit"),
        kl=arg("gamma"),
    ),
    "models.VSAE": dict(
        shape=arg((2,)),
        block_dim=count(),
        cell_hidden=count(),
        network=arg(MLP((4,))),
        likelihood=arg(lambda: columns()),
        kl_weight=at_least_0(),
        mask=arg("values"),
        pseudo=arg("prior"),
        pseudo_weight=at_least_0(),
        attributes=arg((), "[]"),
    ),
    "models.VAE": dict(shape=arg((3,)), latent_dim=count(), **PARTS, kl_weight=at_least_0()),
    "models.AdaVAE": dict(
        shape=arg((3,)), latent_dim=count(), **PARTS, kl_weight=at_least_0(), average=arg("mean")
    ),
    "models.ConditionalVAE": dict(
        shape=arg((3,)),
        group_names=arg(["a", "b"]),
        content_dim=count(),
        style_dim=count(),
        **PARTS,
        style_kl_weight=at_least_0(),
    ),
    "models.Rotations": dict(
        shape=arg((3, 4)),
        latent_dim=count(),
        actions=count(),
        continuous=flag(),
        transition=arg("rotation"),
        width=count(),
        network=PARTS["network"],
        likelihood=PARTS["likelihood"],
        entanglement_weight=at_least_0(),
        consistency_weight=at_least_0(),
        content_dim=whole(),
        content_kl_weight=at_least_0(),
    ),
    "models.SVQVAE": dict(
        shape=arg((3,)),
        group_names=arg(["a", "b"]),
        latent_dim=count(),
        **PARTS,
        output_range=optional(arg(None)),
        commitment_weight=at_least_0(),
        push=flag(),
        push_weight=at_least_0(),
        push_limit=optional(positive()),
    ),
    "models.Standardise": dict(kind=optional(arg("feature")), shape=arg((3,))),
    "models.plain_vae": dict(model=arg(lambda: mlvae_model())),
    "models.rebuilt": dict(model=arg(lambda: mlvae_model())),
    "models.traits": dict(model=anything()),
    # mlvae.data
    "data.GroupWarp": dict(
        affine=at_least_0(),
        shift=at_least_0(),
        elastic=at_least_0(),
        lattice=count(),
        flip=flag(),
        by=arg(None, "None", "'a'"),
    ),
    "data.Grouped": dict(
        groups=count(),
        members=count(),
        small_groups=arg("keep"),
        span_ranks=flag(),
        by=arg(None, "None", "'a'"),
        within=arg(None, "None", "'a'"),
    ),
    "data.Shuffled": dict(batch_size=count(), span_ranks=flag()),
    "data.Splits": dict(
        train=arg(lambda: data()),
        validation=optional(arg(lambda: data())),
        test=optional(arg(lambda: data())),
        unseen=optional(arg(lambda: data())),
    ),
    "data.ArrayFile": dict(
        path=arg(lambda: place("array.npy")),
        name=optional(arg(None)),
        channels_last=flag(),
        white=arg(255),
        integers=flag(),
    ),
    "data.SourceRows": dict(
        source=arg(lambda: data_module.ArrayFile(place("array.npy"))),
        rows=optional(arg(lambda: torch.arange(3))),
    ),
    "data.StoredImages": dict(
        path=arg(lambda: place("images.raw")),
        shape=arg((6, 1, 2, 2)),
    ),
    "data.table": dict(
        root=arg(lambda: place("table.csv")),
        group=optional(arg("donor")),
        header=flag(True),
        features=optional(arg(["age"])),
        categories=arg([], "[]"),
        factors=arg([], "[]"),
        kinds=optional(arg("inferred", "{}")),
        missing=arg("refuse"),
        markers=arg(["?"], "[]"),
        split=optional(arg("observations")),
        validation=arg(0.2, "0", "int64", "float64"),
        test=arg(0.2, "0", "int64", "float64"),
        within=arg(0.0, "0"),
        unseen_groups=arg([], "[]"),
        **SEED,
    ),
    "data.bag_of_words": dict(
        root=arg(lambda: place("texts.csv")),
        vocabulary=optional(arg(None)),
        first_index=arg(1, "0"),
        group=optional(arg("kind")),
        text=arg("text"),
        columns=optional(arg(None)),
        min_documents=arg(1, "int64"),
        max_share=arg(1.0, "float64"),
        most_words=optional(count(3)),
        stop_words=optional(arg("english")),
        test_file=optional(arg(None)),
        split=optional(arg("observations")),
        validation=arg(0.2, "0", "int64", "float64"),
        test=arg(0.2, "0", "int64", "float64"),
        within=arg(0.0, "0"),
        unseen_groups=arg([], "[]"),
        **SEED,
    ),
    "data.SparseRows": dict(matrix=arg(lambda: torch.eye(6, 3).to_sparse())),
    "data.arrays": dict(
        root=arg(lambda: place("data.npz")),
        group=arg(None, "None"),
        split=optional(arg("observations")),
        validation=SHARE,
        test=SHARE,
        within=arg(0.0, "0"),
        unseen_groups=arg([], "[]"),
        kind=arg("auto"),
        **SEED,
    ),
    "data.digits": dict(**{**HELD, "unseen_groups": arg([], "[]", "integer array")}),
    "data.mnist": dict(
        root=arg(lambda: place(".")), validation=whole(1), unseen_groups=arg([], "[]"), **SEED
    ),
    "data.fashion_mnist": dict(
        root=arg(lambda: place(".")), validation=whole(1), unseen_groups=arg([], "[]"), **SEED
    ),
    "data.faces": dict(root=arg(lambda: place("people")), **FACES),
    "data.lfw": dict(root=arg(lambda: place("lfw")), **NAMED),
    "data.yale_b": dict(root=arg(lambda: place("yale")), **NAMED),
    "data.omniglot": dict(root=arg(lambda: place("omniglot")), **NAMED),
    "data.celeba": dict(root=arg(lambda: place("celeba")), **FACES),
    "data.glyphs": dict(
        characters=arg("ab", "'a'"),
        fonts=optional(arg(None)),
        images=count(3),
        scale=arg((0.5, 0.6)),
        rotation=arg((-0.1, 0.1)),
        shear=arg((-0.1, 0.1)),
        weight=arg((0.0, 0.02)),
        x=arg((0.48, 0.52)),
        y=arg((0.48, 0.52)),
        size=arg(8),
        group=arg("character"),
        held_pairs=arg(0.0, "0"),
        **SHARED,
    ),
    "data.read_images": dict(
        images=arg(lambda: np.zeros((9, 9, 3), np.uint8)),
        like=optional(arg(lambda: data())),
        size=optional(count()),
        colour=optional(flag()),
        crop=arg(1.0, "float64"),
    ),
    "data.recordings": dict(
        root=arg(lambda: place("sounds")),
        pattern=arg("{group}/*.wav"),
        group=arg("group"),
        factors=optional(arg([], "[]")),
        features=arg("logmel"),
        rate=optional(arg(8000)),
        seconds=optional(arg(0.1, "1.5", "int64", "float64")),
        frames=optional(count(3)),
        level=arg("keep"),
        bands=arg(5, "int64"),
        window=arg(0.025),
        hop=arg(0.01, "1.5", "10^30", "int64", "float64"),
        low=arg(0.0, "0", "1.5", "int64", "float64"),
        high=optional(arg(4000)),
        skip=flag(),
        split=optional(arg("members")),
        validation=SHARE,
        test=SHARE,
        within=arg(0.0, "0"),
        unseen_groups=arg([], "[]"),
        **SEED,
    ),
    "data.fsdd": dict(
        root=arg(lambda: place("fsdd")),
        group=arg("speaker"),
        unseen_speakers=arg([], "[]"),
        unseen_digits=arg([], "[]"),
        frames=count(3),
        level=arg("rms"),
        validation=SHARE,
        **SEED,
    ),
    "data.Episodes": dict(
        x=arg(lambda: torch.zeros(2, 4, 3)),
        action=arg(lambda: torch.zeros(2, 3, dtype=torch.int64)),
        truth=anything(),
    ),
    "data.torus": dict(size=arg([3, 4]), image=flag(), cell=count(), **TRAJECTORIES),
    "data.flatland": dict(
        period=count(),
        colours=whole(0),
        size=arg(8),
        radius=arg(0.2, "float64"),
        **TRAJECTORIES,
    ),
    "data.sphere": dict(size=arg(6), turn=positive(), **TRAJECTORIES),
    "data.moving_sprites": dict(
        identities=count(30), unseen=whole(), period=count(), size=arg(8), **TRAJECTORIES
    ),
    "data.rollouts": dict(
        root=arg(lambda: place("walks.npz")),
        steps=count(),
        validation=SHARE,
        test=SHARE,
        length=count(),
        seed=whole(),
    ),
    "data.gct": dict(
        root=arg(lambda: place("plate.gct")),
        group=arg("pert_iname"),
        factors=arg([], "[]"),
        features=optional(arg("pr_gene_symbol")),
        control=optional(arg(lambda: {"pert_type": "ctl_vehicle"})),
        floor=at_least_0(),
        clip=optional(positive()),
        split=optional(arg("members")),
        validation=SHARE,
        test=SHARE,
        within=arg(0.0, "0"),
        unseen_groups=arg([], "[]"),
        **SEED,
    ),
    "data.l1000": dict(
        root=arg(lambda: place("plate.gct")),
        test_dose=optional(arg(10)),
        genes=optional(arg(1, "int64")),
        hidden=arg(0.5, "0", "float64"),
        validation=SHARE,
        unseen_groups=arg([], "[]"),
        **SEED,
    ),
    "data.uci": dict(
        root=arg(lambda: place(".")),
        entry=arg("red_wine"),
        hidden=arg(0.5, "0", "float64"),
        mechanism=arg("mcar"),
        grouped=flag(),
        validation=SHARE,
        test=SHARE,
        **SEED,
    ),
    "data.hivae": dict(
        root=arg(lambda: place("data.csv")),
        percent=optional(arg(20)),
        mask=arg(1, "int64"),
        validation=SHARE,
        test=SHARE,
        **SEED,
    ),
    "data.read_gct": dict(path=arg(lambda: place("plate.gct"))),
    "data.dsprites": dict(**PUBLISHED, cache=arg(lambda: place("cache"), "'a'")),
    "data.shapes3d": dict(**PUBLISHED),
    "data.cars3d": dict(
        **{**PUBLISHED, "group_by": arg("azimuth"), "images": optional(arg(50))}, size=count()
    ),
    "data.smallnorb": dict(
        root=arg(lambda: place("published")),
        group_by=arg("category"),
        size=count(),
        validation=SHARE,
        unseen_groups=arg([], "[]"),
        **SEED,
    ),
    "data.open_dataset": dict(name=arg("digits")),
    "data.split": dict(
        data=arg(lambda: data()), by=arg("observations"), **SHARED, within=arg(0.0, "0")
    ),
    "data.sprite_pairs": dict(
        pairs=count(),
        changed=optional(count()),
        validation=whole(),
        test=whole(),
        size=arg(8),
        seed=whole(),
    ),
    "data.sprites": dict(images=optional(arg(12)), group_by=arg("shape"), size=arg(8), **SHARED),
    # mlvae.likelihoods
    "likelihoods.Gaussian": dict(std=positive()),
    "likelihoods.LearnedGaussian": dict(
        log_variance_min=arg(-1.0, "-1", "0", "float64"),
        log_variance_max=arg(1.0, "0", "1.5", "10^30", "int64", "float64"),
        scope=arg("element"),
    ),
    "likelihoods.DiscretisedLogistic": dict(
        log_scale_min=arg(-7.0, "-1", "0", "1.5", "float64"),
        log_scale_max=arg(2.0, "-1", "0", "1.5", "int64", "float64"),
        scope=arg("element"),
    ),
    "likelihoods.ColumnScale": dict(
        column=arg("age", "'a'"),
        kind=arg("real"),
        levels=arg(1),
        mean=arg(0.5, "0", "-1", "1.5", "10^30", "int64", "float64"),
        deviation=positive(),
    ),
    "likelihoods.MixedColumns": dict(columns=arg(lambda: columns().columns, "[]")),
    "likelihoods.Poisson": dict(total=positive(), link=arg("softmax")),
    "likelihoods.NegativeBinomial": dict(
        total=positive(),
        link=arg("softmax"),
        log_inverse_dispersion_min=arg(-4.0, "-1", "0", "1.5", "int64", "float64"),
        log_inverse_dispersion_max=arg(6.0, "-1", "0", "1.5", "int64", "float64"),
        scope=arg("channel"),
    ),
    "likelihoods.Multinomial": dict(total=positive(), coefficient=flag()),
    # mlvae.networks
    "networks.MLP": dict(
        hidden=arg((4,), "[]"),
        activation=arg("relu"),
        shared=flag(),
        init=arg("torch"),
        batch_norm=flag(),
    ),
    "networks.Conv": dict(
        widths=arg((8,)),
        blocks=whole(),
        activation=arg("relu"),
        shared=flag(),
        dropout=fraction(),
    ),
    "networks.Conv1d": dict(
        widths=arg((8,)),
        kernel=arg(3),
        activation=arg("relu"),
        shared=flag(),
        dropout=fraction(),
    ),
    "networks.ConvMLP": dict(
        widths=arg((8,)),
        blocks=whole(),
        hidden=arg((4,), "[]"),
        activation=arg("relu"),
        shared=flag(),
        dropout=fraction(),
    ),
    "networks.PlainConv": dict(
        widths=arg((8,)),
        kernels=arg((3,)),
        strides=arg((1,)),
        decoder_kernels=arg((3,)),
        decoder_strides=arg((1,)),
        activation=arg("relu"),
        head=flag(),
    ),
    "networks.TopicMLP": dict(
        hidden=arg((4,), "[]"),
        activation=arg("relu"),
        shared=flag(),
        dropout=fraction(),
        mixing=arg("product"),
        softmax=flag(),
    ),
    "networks.Encoder": dict(
        trunk=arg(lambda: torch.nn.Flatten()),
        width=count(),
        dims=arg([2]),
        family=arg(DiagonalGaussian),
    ),
    "networks.ConditionalEncoder": dict(
        trunk=arg(lambda: torch.nn.Flatten()),
        join=arg(lambda: torch.nn.Flatten()),
        hidden=count(),
        dim=count(),
        family=arg(DiagonalGaussian),
    ),
    "networks.SeparateEncoders": dict(
        encoders=arg(lambda: [networks.Encoder(torch.nn.Flatten(), 2, [2])])
    ),
    "networks.Decoder": dict(
        trunk=arg(lambda: torch.nn.Flatten()),
        head=arg(lambda: torch.nn.Flatten()),
        split=arg((1, 2)),
    ),
    # mlvae.evaluation
    "evaluation.Codebook": dict(
        controls=arg(["lda"], "[]"),
        neighbours=count(),
        most=count(),
        groups=count(),
        seed=whole(),
    ),
    "evaluation.Collapse": dict(neighbours=arg([3]), most=count()),
    "evaluation.Documents": dict(shots=arg([1]), galleries=count(), lda_passes=count()),
    "evaluation.Counterfactual": dict(
        cells=optional(arg((), "[]")),
        samples=count(),
        bins=count(),
        most=count(),
        probes=arg(["logistic"]),
        seed=whole(),
    ),
    "evaluation.Imputation": dict(
        fractions=arg([0.3]),
        mechanism=arg("mar"),
        controls=arg(["mean"], "[]"),
        neighbours=count(),
        most=count(),
        samples=count(),
        seeds=count(),
    ),
    "evaluation.Disentanglement": dict(
        categories=arg(["a"], "[]"),
        metrics=arg(["mig"]),
        trees=arg("forest"),
        bins=count(),
        factor_bins=count(),
        seeds=count(),
        most=arg(5000),
    ),
    "evaluation.Embedding": dict(method=arg("pca"), points=arg(10)),
    "evaluation.Factors": dict(categories=arg(["a"], "[]"), trees=count(), most=arg(10)),
    "evaluation.Fidelity": dict(
        epochs=count(), swaps=count(), seeds=count(), keep=optional(arg("a", "'a'"))
    ),
    "evaluation.Composition": dict(
        observations=count(), reader_steps=count(), controls=arg([], "[]"), seed=whole()
    ),
    "evaluation.Leakage": dict(
        probes=arg(["knn"]),
        factors=arg([], "[]"),
        controls=arg([], "[]"),
        split=optional(arg("unseen", "'unseen'")),
        seed=whole(),
    ),
    "evaluation.Likelihood": dict(
        sizes=arg([1]), groups=count(), num_content=arg([1]), num_style=count()
    ),
    "evaluation.Manipulation": dict(
        groups=count(), members=count(), steps=count(), span=positive(), seed=whole()
    ),
    "evaluation.Rollout": dict(
        horizons=arg([1]),
        controls=arg([], "[]"),
        episodes=count(),
        turns=count(),
        planes=count(),
        frames=count(),
    ),
    "evaluation.Separation": dict(
        k=optional(arg([1])), train_k=optional(count()), probes=arg(["knn"]), seeds=count()
    ),
    "evaluation.Topics": dict(
        words=count(),
        diversity_words=count(),
        relevance=arg([0.5]),
        samples=count(),
        refinement=whole(),
        shown=count(),
        controls=arg(["unigram"]),
        lda_passes=count(),
    ),
    "evaluation.Unseen": dict(
        shots=arg([1]),
        distances=arg(["cosine"]),
        galleries=count(),
        pairs=count(),
        most_members=count(),
    ),
    "evaluation.accumulate_sets": dict(
        posterior=arg(lambda: gaussian()),
        sets=arg(lambda: torch.tensor([[0, 1], [2, 3]])),
        accumulation=optional(arg("mean")),
    ),
    "evaluation.beta_vae_score": dict(
        **CODES,
        pairs=count(),
        train=count(20),
        test=count(),
        factor_bins=optional(count()),
        **SEED,
    ),
    "evaluation.dci": dict(
        **CODES,
        continuous=flag(),
        trees=arg("forest"),
        number=count(),
        test_fraction=arg(0.3, "float64"),
        **SEED,
    ),
    "evaluation.disjoint_sets": dict(groups=GROUPS, k=count(), **DRAW),
    "evaluation.encode": dict(
        representation=arg(lambda: evaluation.pixels), data=arg(lambda: data()), chunk=count()
    ),
    "evaluation.entropy": dict(labels=arg(lambda: torch.tensor(LABELS), "integer array")),
    "evaluation.evaluate": dict(
        model=arg(lambda: mlvae_model()),
        splits=arg(lambda: splits()),
        folder=arg("evaluation", "'a'"),
        questions=optional(arg(lambda: [quick_question()])),
        vae=optional(arg(lambda: vae())),
        controls=optional(arg({}, "{}")),
        batching=arg(lambda: data_module.Shuffled(4)),
        seed=whole(),
        workers=optional(arg(1, "int64")),
        title=arg("Title", "''", "'a'"),
        facts=optional(arg({"a": "b"}, "{}")),
        config=arg("", "''", "'a'"),
        progress=flag(),
    ),
    "evaluation.factor_vae_score": dict(
        **CODES,
        draws=count(),
        train=arg(20, "int64"),
        test=count(),
        collapsed=at_least_0(),
        factor_bins=optional(count()),
        **SEED,
    ),
    "evaluation.importance_weighted_bound": dict(
        model=arg(lambda: model()),
        data=arg(lambda: data()),
        num_content=count(),
        num_style=count(),
        chunk=count(),
        **SEED,
    ),
    "evaluation.coherence": dict(
        top=arg(lambda: torch.tensor([[0, 1], [1, 2]])),
        present=arg(lambda: torch.ones(6, 3).bool()),
    ),
    "evaluation.diversity": dict(top=arg(lambda: torch.tensor([[0, 1], [1, 2]]))),
    "evaluation.perplexity": dict(
        bounds=arg(lambda: -torch.ones(6)),
        lengths=arg(lambda: torch.ones(6)),
    ),
    "evaluation.top_words": dict(
        shares=arg(lambda: torch.rand(4, 3), "nan tensor"), number=count()
    ),
    "evaluation.fit_lda": dict(
        train=arg(lambda: np.eye(6, 3)), topics=count(), passes=count(), **SEED
    ),
    "evaluation.lda_bounds": dict(
        lda=arg(lambda: evaluation.fit_lda(np.eye(6, 3), 2, passes=1).model),
        counts=arg(lambda: np.eye(6, 3)),
        topics=optional(arg(lambda: torch.full((2, 3), 1 / 3))),
    ),
    "evaluation.mig": dict(**CODES, bins=count(), factor_bins=optional(count())),
    "evaluation.modularity": dict(**CODES, bins=count(), factor_bins=optional(count())),
    "evaluation.n_shot_accuracy": dict(
        codes=arg(lambda: np.random.default_rng(0).normal(size=(6, 3))),
        groups=LABELLED,
        shots=count(1),
        galleries=count(),
        distance=arg("cosine"),
        **SEED,
    ),
    "evaluation.pixels": dict(batch=BATCH),
    "evaluation.principal_components": dict(
        data=arg(lambda: data()), dim=count(), most=count(), scale=optional(arg(None))
    ),
    "evaluation.Groups": dict(
        kind=arg("wasserstein"),
        members=count(),
        groups=count(),
        samples=count(),
        permutations=count(),
        seed=whole(),
        grouping=optional(arg(None, "'a'")),
    ),
    "evaluation.association": dict(
        content=arg(lambda: np.eye(6, 2)),
        covariate=arg(lambda: np.arange(6.0)),
        groups=optional(arg(None)),
        folds=count(),
        permutations=count(),
        **SEED,
    ),
    "evaluation.group_distances": dict(
        posteriors=arg(lambda: gaussian()),
        kind=arg("wasserstein"),
        groups=optional(arg(LABELS)),
        accumulation=optional(arg(None)),
        samples=count(),
        **SEED,
    ),
    "evaluation.leakage": dict(
        codes=arg(lambda: torch.zeros(6, 3)),
        labels=arg(lambda: torch.tensor(LABELS)),
        probes=arg(["knn"]),
        curve=flag(),
        **SEED,
    ),
    "evaluation.probe_sets": dict(
        representation=arg(lambda: evaluation.pixels),
        train=arg(lambda: data()),
        test=arg(lambda: data()),
        k_train=arg(1),
        k_test=count(1),
        sample=flag(),
        kind=arg("knn"),
        accumulation=optional(arg("mean")),
        **SEED,
    ),
    "evaluation.representations": dict(model=arg(lambda: model()), data=arg(lambda: data())),
    "evaluation.save_film": dict(
        path=arg(lambda: "film.gif"), rows=arg(lambda: torch.zeros(1, 2, 1, 3, 3))
    ),
    "evaluation.sap": dict(**CODES, continuous=flag(), test_fraction=arg(0.3, "float64"), **SEED),
    "evaluation.verification": dict(
        codes=arg(lambda: np.random.default_rng(0).normal(size=(6, 3))),
        groups=LABELLED,
        pairs=count(),
        galleries=count(),
        distance=arg("cosine"),
        **SEED,
    ),
    # mlvae.show
    "show.swaps": VIEW,
    "show.reconstructions": VIEW,
    "show.samples": dict(**VIEW, columns=count(), **SEED),
    "show.interpolations": dict(
        model=arg(lambda: model()), x=IMAGES, labels=optional(arg(list("abcdef"))), steps=count()
    ),
    "show.group_distances": dict(
        distances=arg(lambda: np.ones((3, 3)) - np.eye(3)),
        labels=optional(arg(["a", "b", "c"])),
        linkage=arg("average"),
        title=arg("distance", "''", "'a'"),
    ),
    "show.factorial": dict(
        model=arg(lambda: of_two()),
        x=arg(lambda: two_groupings()),
        rows=optional(arg(None, "'a'")),
        columns=optional(arg(None, "'a'")),
        most=count(),
    ),
    "show.evidence": dict(**VIEW, counts=optional(arg([1, 2]))),
    "show.traversals": dict(
        model=arg(lambda: model()), x=IMAGES, steps=count(), span=positive(), most=count()
    ),
    # mlvae.grids
    "grids.drawable": dict(shape=arg((1, 8, 8))),
    "grids.evidence_grid": dict(
        model=arg(lambda: model()), batch=BATCH, counts=optional(arg([1, 2]))
    ),
    "grids.accumulation_grid": dict(model=arg(lambda: model()), batch=BATCH),
    "grids.factorial_grid": dict(
        model=arg(lambda: of_two()),
        batch=arg(lambda: two_groupings().batch()),
        rows=optional(arg(None, "'a'")),
        columns=optional(arg(None, "'a'")),
        most=count(),
    ),
    "grids.generation_grid": dict(
        model=arg(lambda: model()), batch=BATCH, columns=count(), **DRAW
    ),
    "grids.interpolation_grid": dict(
        model=arg(lambda: model()), batch=arg(lambda: data().singles([0, 1])), steps=count()
    ),
    "grids.pictures": dict(model=anything(), data=arg(lambda: data())),
    "grids.reconstruction_grid": dict(model=arg(lambda: model()), batch=BATCH),
    "grids.separates": dict(codes=arg({"content": 0}, "{}")),
    "grids.swap_grid": dict(model=arg(lambda: model()), batch=BATCH),
    "grids.traversal_grid": dict(
        model=arg(lambda: model()),
        batch=arg(lambda: data().singles([0])),
        steps=count(),
        span=positive(),
        most=count(),
    ),
    # mlvae.training
    "training.evaluate_bound": dict(
        model=arg(lambda: model()),
        data=arg(lambda: data()),
        batching=arg(lambda: data_module.Shuffled(4)),
        seed=whole(),
    ),
    # Methods
    "Batch.ungrouped": dict(x=arg(lambda: np.zeros((6, 3)), "array", "tensor", "nan tensor")),
    "Batch.to": dict(device=DEVICE),
    "Batch.singles": dict(rows=optional(arg([0, 1]))),
    "DiagonalGaussian.from_raw": dict(raw=arg(lambda: torch.zeros(6, 4))),
    "DiagonalGaussian.cat": dict(parts=arg(lambda: [gaussian(), gaussian()])),
    "DiagonalGaussian.sample": dict(shape=arg((2,), "[]"), **DRAW),
    "PairOfGaussians.sample_members": dict(groups=GROUPS, **DRAW),
    "DiagonalGaussian.log_prob": dict(value=ROWS),
    "DiagonalGaussian.kl": dict(other=optional(arg(lambda: gaussian()))),
    "DirichletRows.sample": dict(shape=arg((2,), "[]"), **DRAW, sampler=arg("implicit")),
    "DirichletRows.log_prob": dict(value=arg(lambda: torch.full((6, 3), 1 / 3), "nan tensor")),
    "DirichletRows.kl": dict(divergence=arg("gamma")),
    "Evidence.of": dict(posterior=arg(lambda: gaussian())),
    "Evidence.only": dict(mask=arg(lambda: torch.ones(6, dtype=torch.bool))),
    "Evidence.accumulate": dict(groups=GROUPS),
    "Evidence.posterior_of": dict(groups=GROUPS),
    "Evidence.leave_one_out": dict(groups=GROUPS),
    "Evidence.__add__": dict(other=arg(lambda: Evidence.of(gaussian()), "0")),
    "Evidence.__sub__": dict(other=arg(lambda: Evidence.of(gaussian()))),
    "GroupedData.to": dict(device=DEVICE),
    "GroupedData.labelled": dict(names=arg([0, 1], "integer array")),
    "GroupedData.subset": dict(indices=arg([0, 1])),
    "GroupedData.batch": dict(indices=optional(arg([0, 1]))),
    "GroupedData.singles": dict(indices=arg([0, 1])),
    "GroupedData.one_of_each": dict(limit=count()),
    "Groups.of": dict(labels=arg(LABELS, "integer array")),
    "Groups.singletons": dict(num_observations=whole()),
    "Groups.to": dict(device=DEVICE),
    "Groups.sum": dict(values=arg(lambda: torch.zeros(6, 3), "nan tensor")),
    "Groups.max": dict(values=arg(lambda: torch.zeros(6, 3), "nan tensor")),
    "Groups.logsumexp": dict(values=arg(lambda: torch.zeros(6, 3), "nan tensor")),
    "Groups.spread": dict(values=PER_GROUP),
    "Groups.random_subset": dict(proper=flag(), **DRAW),
    "Groups.fellow_members": DRAW,
    "Groups.shuffled": DRAW,
    "Point.sample": dict(shape=arg((2,), "[]"), **DRAW),
    "PairOfPoints.sample_members": dict(groups=GROUPS, **DRAW),
    "MLVAE.forward": dict(batch=BATCH, **DRAW),
    "MLVAE.codes": dict(batch=BATCH),
    "MLVAE.infer_content": dict(x=IMAGES, groups=optional(LABELLED)),
    "OfTwo.infer_contents": dict(
        x=IMAGES,
        groups=optional(arg(lambda: {"a": LABELS, "b": LABELS}, "{}")),
    ),
    "OfTwo.decode": dict(
        contents=arg(lambda: {"a": torch.zeros(6, 2), "b": torch.zeros(6, 3)}),
        style=LATENTS,
    ),
    "OfTwo.swap": dict(a_of=IMAGES, b_of=IMAGES, style_of=IMAGES),
    "OfTwo.reconstruct": dict(x=IMAGES, groups=optional(arg(lambda: {"a": LABELS}, "{}"))),
    "MLVAE.infer_style": dict(x=IMAGES, content=optional(LATENTS)),
    "MLVAE.decode": dict(content=LATENTS, style=LATENTS),
    "MLVAE.swap": dict(content_of=IMAGES, style_of=IMAGES),
    "MLVAE.reconstruct": dict(
        x=IMAGES, groups=LABELLED._replace(allowed=LABELLED.allowed | {"None", "{}"})
    ),
    "VAE.forward": dict(batch=BATCH, **DRAW),
    "VAE.codes": dict(batch=BATCH),
    "VAE.infer": dict(x=IMAGES),
    "VAE.decode": dict(latent=LATENTS),
    "VAE.reconstruct": dict(x=IMAGES, groups=anything()),
    "ConditionalVAE.forward": dict(batch=arg(lambda: labelled()), **DRAW),
    "ConditionalVAE.codes": dict(batch=arg(lambda: labelled())),
    "ConditionalVAE.infer_content": dict(batch=arg(lambda: labelled())),
    "ConditionalVAE.infer_style": dict(batch=arg(lambda: labelled())),
    "ConditionalVAE.decode": dict(content=LATENTS, style=LATENTS),
    "ConditionalVAE.swap": dict(
        content_of=arg(lambda: labelled()), style_of=arg(lambda: labelled())
    ),
    "ConditionalVAE.reconstruct": dict(batch=arg(lambda: labelled())),
    "SVQVAE.forward": dict(batch=arg(lambda: labelled()), **DRAW),
    "SVQVAE.codes": dict(batch=arg(lambda: labelled())),
    "SVQVAE.infer": dict(x=IMAGES),
    "SVQVAE.code_of": dict(label=arg(1, "True", "0", "[]")),
    "SVQVAE.nearest_code": dict(x=IMAGES),
    "SVQVAE.classify": dict(x=IMAGES),
    "SVQVAE.decode": dict(content=LATENTS, latent=anything()),
    "SVQVAE.reconstruct": dict(x=IMAGES),
    "Bernoulli.log_prob": dict(
        parameters=arg(lambda: torch.zeros(6, 1, 3)),
        x=arg(lambda: torch.zeros(6, 3), "nan tensor"),
    ),
    "Bernoulli.mean": dict(parameters=arg(lambda: torch.zeros(6, 1, 3))),
    "Bernoulli.check": dict(x=arg(lambda: torch.zeros(6, 3), "tensor")),
    "Gaussian.log_prob": dict(
        parameters=arg(lambda: torch.zeros(6, 1, 3)),
        x=arg(lambda: torch.zeros(6, 3), "nan tensor"),
    ),
    "Gaussian.mean": dict(parameters=arg(lambda: torch.zeros(6, 1, 3))),
    "Gaussian.check": dict(x=arg(lambda: torch.zeros(6, 3), "tensor")),
    "LearnedGaussian.log_prob": dict(
        parameters=arg(lambda: torch.zeros(6, 2, 3)),
        x=arg(lambda: torch.zeros(6, 3), "nan tensor"),
    ),
    "LearnedGaussian.mean": dict(parameters=arg(lambda: torch.zeros(6, 2, 3))),
    "DiscretisedLogistic.log_prob": dict(
        parameters=arg(lambda: torch.zeros(6, 2, 3)),
        x=arg(lambda: torch.zeros(6, 3), "nan tensor"),
    ),
    "DiscretisedLogistic.mean": dict(parameters=arg(lambda: torch.zeros(6, 2, 3))),
    "DiscretisedLogistic.check": dict(x=arg(lambda: torch.zeros(6, 3), "tensor")),
    "Poisson.log_prob": dict(
        parameters=arg(lambda: torch.zeros(6, 1, 3)),
        x=arg(lambda: torch.zeros(6, 3), "nan tensor"),
        size=optional(arg(lambda: torch.ones(6))),
    ),
    "Poisson.inputs": dict(x=arg(lambda: torch.zeros(6, 3), "nan tensor", "tensor")),
    "Poisson.mean": dict(
        parameters=arg(lambda: torch.zeros(6, 1, 3)),
        size=optional(arg(lambda: torch.ones(6))),
    ),
    "Poisson.check": dict(
        x=arg(lambda: torch.zeros(6, 3)), size=optional(arg(lambda: torch.ones(6)))
    ),
    "NegativeBinomial.log_prob": dict(
        parameters=arg(lambda: torch.zeros(6, 2, 3)),
        x=arg(lambda: torch.zeros(6, 3), "nan tensor"),
        size=optional(arg(lambda: torch.ones(6))),
    ),
    "NegativeBinomial.inputs": dict(x=arg(lambda: torch.zeros(6, 3), "nan tensor", "tensor")),
    "NegativeBinomial.mean": dict(
        parameters=arg(lambda: torch.zeros(6, 2, 3)),
        size=optional(arg(lambda: torch.ones(6))),
    ),
    "NegativeBinomial.check": dict(
        x=arg(lambda: torch.zeros(6, 3)), size=optional(arg(lambda: torch.ones(6)))
    ),
    "Multinomial.log_prob": dict(
        parameters=arg(lambda: torch.zeros(6, 1, 3)),
        x=arg(lambda: torch.zeros(6, 3), "nan tensor"),
    ),
    "Multinomial.log_coefficient": dict(x=arg(lambda: torch.zeros(6, 3), "nan tensor", "tensor")),
    "Multinomial.inputs": dict(x=arg(lambda: torch.zeros(6, 3), "nan tensor", "tensor")),
    "Multinomial.mean": dict(
        parameters=arg(lambda: torch.zeros(6, 1, 3)),
        size=optional(arg(lambda: torch.ones(6))),
    ),
    "Multinomial.check": dict(x=arg(lambda: torch.zeros(6, 3), "tensor")),
    "GroupWarp.__call__": dict(batch=BATCH, **DRAW),
    "Shuffled.plan": dict(data=arg(lambda: data()), **DRAW),
    "Shuffled.num_batches": dict(data=arg(lambda: data())),
    "Grouped.plan": dict(data=arg(lambda: data()), **DRAW),
    "Grouped.num_batches": dict(data=arg(lambda: data())),
}

#: The objects whose methods are called.
OWNERS = {
    "Batch": lambda: batch(),
    "DiagonalGaussian": lambda: gaussian(),
    "DirichletRows": lambda: Dirichlet(torch.ones(6, 3)),
    "Evidence": lambda: Evidence.of(gaussian()),
    "GroupedData": lambda: data(),
    "Groups": lambda: groups(),
    "PairOfGaussians": lambda: gaussian(2),
    "PairOfPoints": lambda: Point(torch.zeros(2, 3)),
    "Point": lambda: Point(torch.zeros(6, 3)),
    "MLVAE": lambda: model(),
    "OfTwo": lambda: of_two(),
    "VAE": lambda: vae(),
    "ConditionalVAE": lambda: conditional(),
    "SVQVAE": lambda: coded(),
    "Bernoulli": likelihoods.Bernoulli,
    "Gaussian": likelihoods.Gaussian,
    "LearnedGaussian": likelihoods.LearnedGaussian,
    "DiscretisedLogistic": likelihoods.DiscretisedLogistic,
    "NegativeBinomial": likelihoods.NegativeBinomial,
    "Multinomial": likelihoods.Multinomial,
    "Poisson": likelihoods.Poisson,
    "GroupWarp": data_module.GroupWarp,
    "Shuffled": data_module.Shuffled,
    "Grouped": lambda: data_module.Grouped(2, 2),
}

#: Names without a call, and the reason.
LEFT_OUT = {
    **dict.fromkeys(("Diverged", "InputError", "RankLost"), "an exception"),
    **dict.fromkeys(
        ("ConditionalNetwork", "Likelihood", "Model", "Network", "Recipe", "Source"), "a protocol"
    ),
    "Encoded": "an answer of encode",
    "Grouping": "a part of GroupedData",
    **dict.fromkeys(
        ("Answer", "Association", "Estimate", "Figure", "Grid", "GroupDistances"), "an answer"
    ),
    **dict.fromkeys(("Gct", "Strongest", "Table"), "an answer"),
    **dict.fromkeys(("Result", "Plan", "Traits", "Truth"), "an answer of the library"),
    **dict.fromkeys(("explore", "export", "share"), "tests/explorer and tests/exporting"),
    **dict.fromkeys(("Part", "PartedData", "JoinedRows"), "tests/data/test_parts.py"),
    "collection": "of files: tests/data/test_parts.py",
    "annotate": "of an AnnData: tests/test_annotation.py",
    "read_images": "of files: tests/data/test_new_images.py",
    "anndata": "of a file of an AnnData: tests/data/test_anndata.py",
    "Subject": "made by evaluate",
    **dict.fromkeys(("newsgroups", "bbc_news"), "of files: tests/data/test_bag_of_words.py"),
    **dict.fromkeys(("adult", "law_school"), "of files: tests/data/test_published_tables.py"),
    "mpi3d": "its files have at least 460,800 images",
    "Bernoulli": "without parameters",
}

#: Valid values that would take long.
SLOW = {("evaluation.evaluate.questions", "None"), ("data.sprites.images", "None")}
NUMBER = itertools.count()


def quick_question():
    return evaluation.Likelihood(sizes=(1,), groups=2, num_content=(1,), num_style=1)


def labelled():
    return data().labelled([0, 1]).batch()


def function_of(name):
    """The function, class or bound method that a name of the table stands for."""
    first, _, method = name.partition(".")
    if first in OWNERS and method:
        return getattr(OWNERS[first](), method)
    module = importlib.import_module(f"mlvae.{first}") if method else mlvae
    return getattr(module, method or first)


def arguments_of(name):
    return {parameter: argument.build() for parameter, argument in CALLS[name].items()}


def failure(name, parameter, odd):
    """What is wrong with the answer to an odd value, or None."""
    allowed = odd in CALLS[name][parameter].allowed
    arguments = arguments_of(name) | {parameter: ODD[odd]()}
    try:
        function_of(name)(**arguments)
    except InputError as error:
        message = str(error)
        if allowed:
            return f"is valid, but is refused: {message}"
        if "\n" in message or len(message) > LONGEST:
            return f"has a message of {len(message)} characters: {message!r}"
        return None
    except Exception as error:  # any other exception is what this test looks for
        return f"raises {type(error).__name__}: {str(error)[:200]!r}"
    return None if allowed else "passes silently"


PARAMETERS = [(name, parameter) for name, call in CALLS.items() for parameter in call]


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_an_odd_value_works_or_is_refused_in_one_line(name, parameter):
    wrong = [
        f"{name}({parameter}={odd}) {found}"
        for odd in ODD
        if (f"{name}.{parameter}", odd) not in SLOW
        and (found := failure(name, parameter, odd)) is not None
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", CALLS)
def test_the_call_of_the_table_is_valid(name):
    function_of(name)(**arguments_of(name))


@pytest.mark.parametrize("name", CALLS)
def test_an_unknown_keyword_is_named(name):
    with pytest.raises((TypeError, InputError), match="peculiar"):
        function_of(name)(**arguments_of(name), peculiar=1)


@pytest.mark.parametrize("module", MODULES)
def test_the_table_has_every_public_callable_and_its_parameters(module):
    public = importlib.import_module(f"mlvae.{module}" if module else "mlvae")
    known = {name.split(".")[-1] for name in CALLS if name.split(".")[0] not in OWNERS} | {
        name for name in CALLS if "." not in name
    }
    for name in public.__all__:
        value = getattr(public, name)
        of_module = CALLS.get(f"{module}.{name}")  # two modules may have the name
        if not callable(value) or (name in LEFT_OUT and of_module is None):
            continue
        assert name in known, name
        call = of_module or CALLS[name]
        missing = [
            parameter.name
            for parameter in inspect.signature(value).parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD and parameter.name not in call
        ]
        assert missing in ([], ["ranks"]), f"{name}: {missing}"


# Arguments that are valid alone, but do not fit


def colours(number=6):
    return torch.randint(256, (number, 1, 8, 8), dtype=torch.uint8)


MISFITS = {
    "log_precision of other shape": lambda: Evidence(torch.zeros(6, 3), torch.zeros(1, 3)),
    "evidence of other shape": lambda: Evidence.of(gaussian()) + Evidence.of(gaussian(1)),
    "evidence without other shape": lambda: Evidence.of(gaussian()) - Evidence.of(gaussian(1)),
    "integer mean": lambda: DiagonalGaussian(torch.zeros(2, dtype=torch.int64), torch.zeros(2)),
    "half a head": lambda: DiagonalGaussian.from_raw(torch.zeros(6, 3)),
    "parts of unequal width": lambda: DiagonalGaussian.cat(
        [gaussian(), DiagonalGaussian(torch.zeros(6, 2), torch.zeros(6, 2))]
    ),
    "one value for many Gaussians": lambda: gaussian().log_prob(torch.zeros(1, 3)),
    "values of other groups": lambda: groups().spread(torch.zeros(3, 2)),
    "values of other members": lambda: groups().sum(torch.zeros(5, 2)),
    "a group without members": lambda: Groups([0, 2]),
    "more groups than fit into memory": lambda: Groups([0, 1], 2**62),
    "an index beyond memory": lambda: Groups([0, 2**62]),
    "batch of other groups": lambda: Batch(torch.zeros(5, 3), groups()),
    "batch of other shape": lambda: model()(Batch(torch.zeros(6, 3), groups())),
    "batch of bytes": lambda: model()(Batch(colours(), groups())),
    "posteriors of other groups": lambda: Evidence.of(gaussian(5)).accumulate(groups()),
    "integer x": lambda: likelihoods.Bernoulli().check(torch.ones(2, 3, dtype=torch.int64)),
    "x without number": lambda: likelihoods.Bernoulli().check(torch.full((2, 3), torch.nan)),
    "x of other shape": lambda: likelihoods.Gaussian().log_prob(
        torch.zeros(6, 1, 3), torch.zeros(1, 3)
    ),
    "codes of other width": lambda: model().decode(torch.zeros(6, 3), torch.zeros(6, 2)),
    "infinite codes": lambda: model().decode(torch.full((1, 2), torch.inf), torch.zeros(1, 2)),
    "unknown label": lambda: conditional().infer_content(
        Batch(torch.zeros(2, 1, 8, 8), Groups([0, 1]), {"label": torch.tensor([0, 7])})
    ),
    "codes without dimensions": lambda: evaluation.n_shot_accuracy(
        torch.zeros(6, 0), LABELS, shots=1
    ),
    "codes without number": lambda: evaluation.n_shot_accuracy(
        torch.full((6, 3), torch.nan), LABELS, shots=1
    ),
    "one group": lambda: evaluation.n_shot_accuracy(torch.zeros(6, 3), [0] * 6, shots=1),
    "sets of other observations": lambda: evaluation.accumulate_sets(
        gaussian(), torch.tensor([[0, 6]])
    ),
    "interpolation of one image": lambda: grids.interpolation_grid(model(), data().singles([0])),
    "swap of nothing": lambda: grids.swap_grid(model(), Batch.ungrouped(torch.zeros(0, 1, 8, 8))),
    "grid of numbers": lambda: grids.swap_grid(model(), Batch.ungrouped(torch.zeros(2, 1))),
    "grid of unequal groups": lambda: grids.accumulation_grid(
        model(), Batch(torch.zeros(3, 1, 8, 8), Groups([0, 0, 1]))
    ),
    "labels of lists": lambda: Groups.of([[1, 2], [3]]),
    "complex labels": lambda: Groups.of(torch.zeros(3, dtype=torch.complex64)),
    "no observations": lambda: GroupedData(np.zeros((0, 3)), []),
    "objective of other length": lambda: mlvae.Objective(
        {"model": torch.zeros(())}, {"a": torch.zeros(5)}, num_observations=6
    ),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_arguments_that_do_not_fit_are_refused_in_one_line(misfit):
    with pytest.raises(InputError) as raised:
        MISFITS[misfit]()
    assert "\n" not in str(raised.value) and len(str(raised.value)) <= LONGEST


@pytest.mark.parametrize(
    "build",
    [
        lambda: models.MLVAE((10**12,)),
        lambda: models.MLVAE((3,), content_dim=10**12),
        lambda: models.VAE((3,), latent_dim=2**62),
        lambda: models.VAE((10**9, 10**9, 10**9)),
        lambda: models.AdaVAE((3,), network=MLP((10**6, 10**6))),
        lambda: models.ConditionalVAE(
            (1, 8, 8), group_names=["a"], network=networks.Conv((10**7,))
        ),
        lambda: models.MLVAE((3,), separation=Separation(content_critic=1, width=10**6)),
    ],
)
def test_a_model_that_no_memory_holds_is_refused_before_it_is_built(build):
    with pytest.raises(InputError, match=r"\d parameters"):
        build()


def test_the_check_of_the_size_changes_no_initial_weight(monkeypatch):
    torch.manual_seed(0)
    weights = mlvae_model().state_dict()
    monkeypatch.setattr("mlvae.models.checks.NETWORKS", ())
    torch.manual_seed(0)
    for name, value in mlvae_model().state_dict().items():
        assert torch.equal(value, weights[name])


def test_a_sum_of_evidence_starts_from_the_number_0():
    members = [Evidence.of(gaussian()) for _ in range(3)]
    torch.testing.assert_close(sum(members).precision, 3 * members[0].precision)


def test_groups_take_arrays_and_lists():
    for index in (LABELS, np.array(LABELS), np.array(LABELS, np.uint16)):
        assert torch.equal(Groups(index).index, groups().index)


def test_a_grid_of_uint8_images_is_that_of_the_same_floats():
    images = colours()
    kept, floats = Batch(images, groups()), Batch(images / 255, groups())
    for grid in (
        grids.swap_grid,
        grids.reconstruction_grid,
        grids.accumulation_grid,
        grids.interpolation_grid,
        grids.traversal_grid,
    ):
        torch.testing.assert_close(grid(model(), kept).tiles, grid(model(), floats).tiles)
    torch.testing.assert_close(Batch.ungrouped(images.numpy()).x, images / 255)


def test_latents_may_be_lists_of_tensors_with_gradient():
    values = torch.zeros(6, 2, requires_grad=True)
    decoded = vae().decode(list(values))
    assert torch.equal(decoded, vae().decode(values))
    decoded.sum().backward()
    assert values.grad is not None
