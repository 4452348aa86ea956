"""YAML as people mean it, and as much of it as a person writes.

Values are those of YAML 1.2: `yes`, `no`, `on` and `off` are text, `1e-3` is a number, `010`, `10:00:00` and dates are text.
"""

import re
from typing import Any

import yaml

from sweep.core.errors import cut

_MOST_NODES = 100_000
"""Values in a file, those behind an alias counted each time."""
_MERGE = "tag:yaml.org,2002:merge"


class InvalidYaml(ValueError):
    """Text that is not YAML, or more than is reasonable. `where` is `", line N"`, or empty where there is no one line."""

    def __init__(self, problem: str, where: str = "") -> None:
        super().__init__(problem)
        self.where = where


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema. Raises for a key that is given twice in one mapping."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - PyYAML's way; those of YAML 1.1 are left out

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if key.value in seen:
                problem = f"the key {cut(key.value)!r} is given twice; leave one out"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return node


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),  # 010, octal to some, is text
    (
        "float",
        r"[-+]?((\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("merge", "<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


class _TextLoader(_Loader):
    """Reads every value as text, but merges with `<<`."""


_TextLoader.yaml_implicit_resolvers = {"<": _Loader.yaml_implicit_resolvers["<"]}


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader`, or a reader of YAML 1.1, would not read as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's way
        first: yaml.SafeDumper.yaml_implicit_resolvers.get(first, [])
        + _Loader.yaml_implicit_resolvers.get(first, [])
        for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
    }


def dump_yaml(value: Any) -> str:
    """`value`, of plain kinds, as YAML that `load_yaml` reads back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def load_yaml(text: str, *, as_text: bool = False) -> Any:
    """The value of a YAML document; with `as_text` every scalar is a string.

    Raises:
        InvalidYaml: it is not valid, nested too deeply, or its aliases stand for more values than a person writes.
    """
    loader = (_TextLoader if as_text else _Loader)(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > _MOST_NODES:
            raise InvalidYaml(f"its aliases stand for more than {_MOST_NODES:,} values; write fewer")
        return loader.construct_document(node)
    except RecursionError:
        raise InvalidYaml("its brackets are nested too deeply; fix it") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InvalidYaml(cut(problem), f", line {mark.line + 1}" if mark else "") from None
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Values that a node stands for."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise InvalidYaml("an alias stands for a value that it is in; write it out")
        return size
    known[id(node)] = None
    size = 1
    if isinstance(node, yaml.MappingNode):
        size += sum(_size(key, known) + _size(value, known) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_size(value, known) for value in node.value)
    known[id(node)] = size
    return size
