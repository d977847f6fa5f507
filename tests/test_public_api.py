"""The public names: complete, documented, and loaded from where they say."""

import ast
from pathlib import Path

import pytest

import fastnn


def declared_for_type_checkers():
    """The names that `fastnn/__init__.py` imports under TYPE_CHECKING."""
    tree = ast.parse(Path(fastnn.__file__).read_text(encoding="utf-8"))
    (block,) = [
        node for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]  # fmt: skip
    return {
        (alias.asname, node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_lazy_names_and_typed_names_are_the_same():
    lazy = {(name, f"fastnn.{home}") for name, home in fastnn._HOME_OF.items()}
    assert lazy == declared_for_type_checkers()
    assert set(fastnn.__all__) == {"__version__", *fastnn._HOME_OF}


@pytest.mark.parametrize("name", [name for name in fastnn.__all__ if name != "__version__"])
def test_every_public_name_loads_and_is_documented(name):
    thing = getattr(fastnn, name)
    assert thing.__doc__
    assert name in dir(fastnn)
    if isinstance(thing, type):
        for key, member in vars(thing).items():
            if callable(member) and not key.startswith("_"):
                own = member.__doc__ or any(
                    getattr(getattr(base, key, None), "__doc__", None) for base in thing.__mro__
                )
                assert own or key in ("step", "state", "rates", "update"), (
                    f"{name}.{key} has no docstring"
                )


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_thing"):
        fastnn.no_such_thing  # noqa: B018 - the look-up is the test
