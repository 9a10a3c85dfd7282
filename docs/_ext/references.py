"""References to Python objects: each object has one page, whichever name a docstring uses.

``mlvae.GroupedData``, ``mlvae.data.GroupedData`` and ``mlvae.data.grouped.GroupedData`` are one
class. It is documented in the package whose ``__all__`` has it, and all its names are links to
that place. Names of other libraries and names that are not public are shown without a link. A
name that does not exist is a warning of the build.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache
from typing import Any, get_type_hints

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon.docstring import GoogleDocstring

import mlvae

MISSING = object()


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the resolver, and give the templates the names that a page documents."""
    app.connect("missing-reference", resolve)
    app.connect("builder-inited", evaluate_options)
    GoogleDocstring._consume_inline_attribute = whole_text  # a colon follows no type here
    app.config["autosummary_context"] = {"members_of": members_of, "submodules_of": submodules_of}
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def whole_text(docstring: GoogleDocstring) -> tuple[str, list[str]]:
    """The type and the text of an attribute's docstring: it has no type."""
    return "", docstring._dedent(docstring._consume_to_end())


def evaluate_options(app: Sphinx) -> None:
    """The annotations of the models' options as types: as strings, some names are ambiguous."""
    for model in mlvae.models.MODELS.values():
        types = get_type_hints(model.Options)
        parameters = [
            parameter.replace(annotation=types.get(name, parameter.annotation))
            for name, parameter in model.__signature__.parameters.items()
        ]
        model.__signature__ = model.__signature__.replace(parameters=parameters)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: nodes.Element, text: nodes.Element
) -> nodes.Element | None:
    """The link of a name that the Python domain does not find; None is a warning of the build."""
    if node.get("refdomain") != "py":
        return None
    value, name = find(node["reftarget"].lstrip("."), node.get("py:module"), node.get("py:class"))
    if value is MISSING:
        return None
    domain = env.get_domain("py")
    if name not in domain.objects:  # type: ignore[attr-defined]
        return text  # of another library, or not public
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, text)


def find(target: str, module: str | None, class_name: str | None) -> tuple[Any, str]:
    """The object that a name means in a class, in a module or by itself, and where it is."""
    places = [f"{module}.{class_name}.{target}"] if module and class_name else []
    places += [f"{module}.{target}"] if module else []
    for place in (*places, target, f"mlvae.{target}", f"builtins.{target}"):
        value, name = by_path(place)
        if value is not MISSING:
            return value, name
    return MISSING, target


@cache
def by_path(path: str) -> tuple[Any, str]:
    """The object at a dotted path, and the name under which it is documented."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        name = ".".join(parts[:length])
        for part in parts[length:]:
            declared = getattr(value, "__annotations__", {}).get(part, MISSING)
            value = inspect.getattr_static(value, part, declared)
            if value is MISSING:
                return MISSING, path
            name = homes().get(id(value), f"{name}.{part}")
        return value, name
    return MISSING, path


@cache
def homes() -> dict[int, str]:
    """The documented name of every public object, by its identity."""
    found: dict[int, str] = {}
    for module in modules():
        for name in members_of(module):
            found.setdefault(
                id(getattr(importlib.import_module(module), name)), f"{module}.{name}"
            )
    return found


@cache
def modules() -> tuple[str, ...]:
    """Every module of the library but the commands, packages before their contents."""
    names = [found.name for found in pkgutil.walk_packages(mlvae.__path__, "mlvae.")]
    kept = [name for name in names if not name.endswith("_triton") and ".commands" not in name]
    return ("mlvae", *kept)


@cache
def members_of(module: str) -> tuple[str, ...]:
    """The public names that the page of a module documents.

    A package documents all names of its ``__all__``, and its modules the others. The package
    ``mlvae`` itself documents what none of its packages has.
    """
    value = importlib.import_module(module)
    names = [name for name in getattr(value, "__all__", ()) if not is_module(value, name)]
    if module == "mlvae":
        return ()
    parent = module.rpartition(".")[0]
    taken: set[int] = set()
    while parent != "mlvae":
        package = importlib.import_module(parent)
        taken |= {id(getattr(package, name)) for name in getattr(package, "__all__", ())}
        parent = parent.rpartition(".")[0]
    return tuple(name for name in names if id(getattr(value, name)) not in taken)


def submodules_of(module: str) -> tuple[str, ...]:
    """The modules directly in a package.

    A module whose name is also that of a function in the package has no page: the package
    documents the function.
    """
    package = importlib.import_module(module)
    names = [name for name in modules() if name.rpartition(".")[0] == module]
    return tuple(name for name in names if is_module(package, name.rpartition(".")[2]))


def is_module(value: Any, name: str) -> bool:
    """Whether a public name is a module."""
    return inspect.ismodule(getattr(value, name, value))
