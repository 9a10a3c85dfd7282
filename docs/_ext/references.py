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
import re
from functools import cache
from typing import Any, get_type_hints

from docutils import nodes
from sphinx.addnodes import desc_signature
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon.docstring import GoogleDocstring

import mlvae

MISSING = object()

#: Modules without a page: programs, and kernels that need a library for GPUs.
NOT_DOCUMENTED = re.compile(r"\.commands|\.__main__|_triton$")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the resolver, and give the templates the names that a page documents."""
    app.connect("missing-reference", resolve)
    app.connect("builder-inited", evaluate_options)
    GoogleDocstring._consume_inline_attribute = whole_text  # a colon follows no type here
    app.config["autosummary_context"] = {
        "names_of_the_package": names_of_the_package,
        "members_of": members_of,
        "submodules_of": submodules_of,
    }
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
        return text if in_signature(node) else None
    domain = env.get_domain("py")
    if name not in domain.objects:  # type: ignore[attr-defined]
        return text  # of another library, or not public
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, text)


def in_signature(node: nodes.Element) -> bool:
    """Whether a name is part of a signature, where no author has written a reference."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, desc_signature):
            return True
    return False


def find(target: str, module: str | None, class_name: str | None) -> tuple[Any, str]:
    """The object that a name means, and where it is.

    The name is looked up in the class, in the module or package of the page, by itself, and in the
    modules of that package, as the docstring may be from one of them.
    """
    places = [f"{module}.{class_name}.{target}"] if module and class_name else []
    places += [f"{module}.{target}"] if module else []
    places += [target, f"mlvae.{target}", f"builtins.{target}"]
    places += [f"{name}.{target}" for name in modules() if module and name.startswith(module)]
    for place in places:
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
    kept = [name for name in names if not NOT_DOCUMENTED.search(name)]
    return ("mlvae", *kept)


@cache
def members_of(module: str) -> tuple[str, ...]:
    """The public names that the page of a module documents.

    A package documents the names of its ``__all__`` that its own modules define, and these modules
    the others. The package ``mlvae`` has links only.
    """
    value = importlib.import_module(module)
    taken: set[int] = set()
    parent = module.rpartition(".")[0]
    while parent.startswith("mlvae."):
        package = importlib.import_module(parent)
        taken |= {id(getattr(package, name)) for name in getattr(package, "__all__", ())}
        parent = parent.rpartition(".")[0]
    return tuple(
        name
        for name in getattr(value, "__all__", ())
        if module != "mlvae"
        and not is_module(value, name)
        and id(getattr(value, name)) not in taken
        and defined_in(module, getattr(value, name))
    )


def defined_in(module: str, value: Any) -> bool:
    """Whether a module or package defines an object; a constant may be from anywhere."""
    origin = getattr(value, "__module__", None) or ""
    return not origin.startswith("mlvae") or f"{origin}.".startswith(f"{module}.")


def names_of_the_package() -> list[str]:
    """The public names of ``mlvae`` that are no packages and no text."""
    return [
        name
        for name in mlvae.__all__
        if not is_module(mlvae, name) and not isinstance(getattr(mlvae, name), str)
    ]


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
