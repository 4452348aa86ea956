"""Numbers, truth values and text are not taken for each other."""

import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from sweep.core.errors import UsageError, cut

_NAMES = {int: "an integer", float: "a number", bool: "true or false"}


def require_types(model: type[BaseModel], given: Mapping[str, Any], where: str) -> None:
    """Raise UsageError for a value of `given` that pydantic would make another kind of value of, for a field of `model`.

    It takes `true` for 1, "10" for 10 and 1 for `true`, which are slips: of a quote, or of YAML's `yes`.
    """
    for key, value in given.items():
        if key in model.model_fields and (wanted := _mistaken(model.model_fields[key].annotation, value)):
            raise UsageError(f"{where}: {key} = {cut(repr(value))}: expected {wanted}")


def _mistaken(annotation: Any, value: Any) -> str | None:
    """What a field with this annotation expects in place of `value`; None where pydantic may judge."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _mistaken(arguments[0], value)
    if origin in (Union, types.UnionType):
        found = [_mistaken(each, value) for each in arguments]
        return None if None in found else next((each for each in found if each), None)
    if annotation is types.NoneType:
        return None if value is None else ""
    if annotation in (int, float):
        return _NAMES[annotation] if isinstance(value, bool | str) else None
    if annotation is bool:
        return None if isinstance(value, bool) else _NAMES[bool]
    if origin in (list, tuple) and isinstance(value, list | tuple):
        kinds = arguments if origin is tuple and Ellipsis not in arguments else [arguments[0]] * len(value)
        found = [_mistaken(kind, each) for kind, each in zip(kinds, value, strict=False)]
        return next((f"{each} in each place" for each in found if each), None)
    return None
