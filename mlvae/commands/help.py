"""Help of the command ``mlvae`` in plain words."""

from __future__ import annotations

import textwrap

from mlvae.commands.configs import choices
from mlvae.version import __version__

__all__ = ["DETAILS", "SUMMARIES", "help_of", "overview"]

#: What each command does, in one line.
SUMMARIES = {
    "train": "Train a model, or continue a run",
    "evaluate": "Write a report about a trained run",
    "explore": "Write a page that decodes a trained model in the browser",
    "prepare": "Decode a collection of images before training",
    "reproduce": "Run the experiment behind a table",
    "export": "Write a trained run as files for other programs",
    "benchmark": "Measure the speed of training and of data handling",
}

#: By command: further sentences, the most used options, examples.
DETAILS: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "train": (
        "A run is a folder with checkpoints, metrics, TensorBoard records and pictures. Ctrl-C\n"
        "saves and stops. Without options, a small model is trained on data of the library.",
        {
            "dataset=mnist": "the data: digits, mnist, glyphs, faces, table, arrays, ...",
            "dataset.root=people": "folder or file of the data",
            "experiment=mnist_best": "a whole published configuration",
            "model=mlvae": "the model: mlvae, vae, svqvae, rotations, vsae, ...",
            "model.content_dim=10": "dimensions of the content; likewise model.style_dim",
            "network=conv": "encoder and decoder: mlp, conv, conv1d, conv_mlp, ...",
            "likelihood=gaussian": "distribution of an observation",
            "trainer.epochs=20": "passes through the data",
            "run=runs/first": "folder of the run; it must be new",
            "resume=runs/first": "continue the run in this folder",
            "parts=[my_networks.Waves]": "classes of your own that the options name",
            "device=cuda": "auto, cpu or cuda",
            "seed=0": "seed of all random numbers",
        },
        (
            "mlvae train run=runs/first",
            "mlvae train dataset=faces dataset.root=people network=conv trainer.epochs=50",
            "mlvae train -m seed=0,1,2 model.style_dim=8,16",
        ),
    ),
    "evaluate": (
        "The report is evaluation/report.html in the folder of the run, with metrics.json and\n"
        "figures beside it. A plain VAE is trained once as a control.",
        {
            "run=runs/first": "folder of the run (required)",
            "folder=report": "folder of the report",
            "evaluation=[separation,unseen]": "the questions; all without this option",
            "vae=null": "no control; or the run of a plain VAE as control",
            "best=true": "the state with the lowest validation loss",
            "root=people": "folder of the data, if it has moved since training",
            "parts=[my_networks.Waves]": "classes of your own that the run has",
            "device=cuda": "auto, cpu or cuda",
        },
        (
            "mlvae evaluate run=runs/first",
            "mlvae evaluate run=runs/first evaluation=[separation] vae=null",
            "mlvae evaluate run=runs/first best=true folder=best-report",
        ),
    ),
    "explore": (
        "The page is explore.html in the folder of the run. It opens by double click, without a\n"
        "network. It shows observations of the data.",
        {
            "run=runs/first": "folder of the run (required)",
            "path=explore.html": "path of the page",
            "groups=60": "largest number of groups in the page",
            "members=12": "members of each group",
            "precision=float16": "half of the size, and errors of about 1e-3",
            "best=true": "the state with the lowest validation loss",
            "root=people": "folder of the data, if it has moved since training",
            "parts=[my_networks.Waves]": "classes of your own that the run has",
        },
        (
            "mlvae explore run=runs/first",
            "mlvae explore run=runs/first path=letters.html groups=20",
            "mlvae explore run=runs/first members=30 best=true",
        ),
    ),
    "prepare": (
        "Images are decoded once into the cache. Training does the same if it finds no cache.\n"
        "An interrupted preparation is continued.",
        {
            "dataset=faces": "the collection: faces, lfw, yale_b, celeba, omniglot (required)",
            "dataset.root=people": "folder or archive of the collection",
            "dataset.size=64": "height and width of the decoded images",
            "dataset.cache=cache": "folder of decoded collections",
        },
        (
            "mlvae prepare dataset=lfw",
            "mlvae prepare dataset=faces dataset.root=people",
            "mlvae prepare dataset=faces dataset.root=people dataset.size=128",
        ),
    ),
    "reproduce": (
        "Every variant of the table is trained and evaluated with every seed. Finished runs are\n"
        "kept; the same command continues after an interruption. The table is printed and\n"
        "written to table.md.",
        {
            "table=leaderboard": "name of a table, path of your own .yaml file, or all (required)",
            "fast=true": "a small version that takes minutes",
            "seeds=[0,1]": "seeds; those of the table without this option",
            "folder=runs/reproduce": "folder of the runs",
            "pages=docs/results": "folder of pages that receive the table as well",
            "root=data": "folder of the data",
            "jobs=2": "number of runs at the same time",
            "device=cuda": "auto, cpu or cuda",
        },
        (
            "mlvae reproduce table=mnist_quantitative fast=true",
            "mlvae reproduce table=mine.yaml jobs=2",
            "mlvae reproduce table=all fast=true",
        ),
    ),
    "export": (
        "encoder.onnx and decoder.onnx run without PyTorch, in any language that ONNX Runtime\n"
        "has; mlvae.json describes them. model.safetensors and config.json are the model itself.",
        {
            "run=runs/first": "folder of the run (required)",
            "folder=letters": "folder of the files; export/ of the run without this option",
            "dtype=uint8": "type of the observations: auto, uint8 or float32",
            "best=true": "the state with the lowest validation loss",
            "parts=[my_networks.Waves]": "classes of your own that the run has",
        },
        (
            "mlvae export run=runs/first",
            "mlvae export run=runs/first folder=letters dtype=float32",
            "mlvae export run=runs/first best=true",
        ),
    ),
}

#: By command: its options that name a file, and the folders of the files.
GROUPS = {
    "train": {
        name: name
        for name in (
            "dataset",
            "experiment",
            "model",
            "network",
            "likelihood",
            "batching",
            "augmentation",
            "optimizer",
            "separation",
        )
    },
    "evaluate": {"evaluation": "evaluation"},
    "explore": {},
    "prepare": {"dataset": "dataset"},
    "reproduce": {"table": "tables"},
    "export": {},
}


def overview() -> str:
    """The commands, one line each."""
    width = max(map(len, SUMMARIES))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in SUMMARIES.items()]
    return "\n".join(
        [
            f"mlvae {__version__}: content and style from grouped observations",
            "",
            "usage: mlvae COMMAND [OPTION=VALUE ...]",
            "",
            *lines,
            "",
            "mlvae COMMAND --help               the most used options of a command, and examples",
            "mlvae --version                    the version",
            'eval "$(mlvae -sc install=bash)"   completion in this shell; also for zsh',
        ]
    )


def help_of(name: str) -> str:
    """What a command does, its most used options, and examples.

    Args:
        name: a command with a config.
    """
    text, options, examples = DETAILS[name]
    width = max(map(len, options))
    required = next((option for option in options if "(required)" in options[option]), "")
    listing = " ".join(filter(None, (f"mlvae {name}", required, "--cfg job")))
    return "\n".join(
        [
            f"{SUMMARIES[name]}.",
            text,
            "",
            f"usage: mlvae {name} [OPTION=VALUE ...]",
            "",
            "The most used options, each with an example of a value:",
            *(f"  {option:<{width}}  {meaning}" for option, meaning in options.items()),
            "",
            "Examples:",
            *(f"  {example}" for example in examples),
            "",
            *_groups(GROUPS[name]),
            f"All options with their values:    {listing}",
            f"Options of Hydra, as -m, -cd, -i: mlvae {name} --hydra-help",
        ]
    )


def _groups(groups: dict[str, str]) -> list[str]:
    """The names of the files of each group, as lines of at most 90 characters, with a title."""
    if not groups:
        return []
    lines = [
        line
        for option, group in groups.items()
        for line in textwrap.wrap(
            f"{option}: {', '.join(choices(group))}",
            90,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
    ]
    return ["Values of an option that names a file of options:", *lines, ""]
