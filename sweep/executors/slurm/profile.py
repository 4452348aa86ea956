"""A cluster profile: what a job asks of Slurm."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sweep.config.yaml_values import InvalidYaml, load_yaml
from sweep.core.errors import UsageError, nearest, summarise_validation

_DURATION = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?$")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?) *(|K|M|G|T)B?$", re.IGNORECASE)
_MEGABYTES = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}


def _printable(text: str) -> str:
    """`text`, which becomes part of a line that Slurm reads."""
    if not text.isprintable():
        raise ValueError("it has a line break or another character that cannot be printed")
    return text


class Profile(BaseModel):
    """How jobs are submitted on one cluster. Nothing here changes a run's numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: Annotated[str | None, Field(description="partition, or several with commas")] = None
    account: Annotated[str | None, Field(description="account to charge")] = None
    qos: Annotated[str | None, Field(description="quality of service")] = None
    constraint: Annotated[str | None, Field(description="features that a node must have")] = None
    exclude: Annotated[list[str], Field(description="nodes not to use")] = []
    gpus: Annotated[int, Field(ge=0, description="GPUs per job")] = 0
    cpus: Annotated[int | None, Field(ge=1, description="cores per job; by default its threads")] = None
    memory: Annotated[
        int | None, Field(ge=1, description="memory per job, `4GB` or in MB; by default the cluster's")
    ] = None
    time: Annotated[int, Field(ge=1, description="time limit, in minutes or as H:MM:SS or D-HH:MM:SS")] = 60
    requeue: Annotated[
        bool, Field(description="let Slurm requeue a job after preemption or node failure")
    ] = True
    modules: Annotated[list[str], Field(description="environment modules to load")] = []
    setup: Annotated[
        list[str], Field(description="shell lines before anything else, under set -euo pipefail")
    ] = []
    env: Annotated[dict[str, str], Field(description="environment variables of the job")] = {}
    container: Annotated[
        str | None, Field(description="command to run Python with, e.g. `apptainer exec image.sif`")
    ] = None
    python: Annotated[str | None, Field(description="Python on the nodes; by default this one")] = None

    @field_validator("partition", "account", "qos", "constraint", "container", "python")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        return value if value is None else _printable(value)

    @field_validator("exclude", "modules")
    @classmethod
    def _lines(cls, value: list[str]) -> list[str]:
        return [_printable(each) for each in value]

    @field_validator("env")
    @classmethod
    def _variables(cls, value: dict[str, str]) -> dict[str, str]:
        for name, content in value.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r} is not the name of an environment variable")
            if "\0" in content:
                raise ValueError(f"the value of {name} has a zero byte")
        return value

    @field_validator("time", mode="before")
    @classmethod
    def _minutes(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.strip().isdigit():
            found = _DURATION.match(value.strip())
            if not found:
                raise ValueError("write minutes, H:MM:SS or D-HH:MM:SS")
            days, first, second, third = (int(group or 0) for group in found.groups())
            if found[1]:  # D-HH[:MM[:SS]]
                seconds = ((days * 24 + first) * 60 + second) * 60 + third
            elif found[4] is not None:
                seconds = (first * 60 + second) * 60 + third
            else:  # MM:SS, as Slurm reads it
                seconds = first * 60 + second
            return -(-seconds // 60)
        return value

    @field_validator("memory", mode="before")
    @classmethod
    def _in_megabytes(cls, value: Any) -> Any:
        if isinstance(value, str):
            found = _MEMORY.match(value.strip())
            if not found:
                raise ValueError("write megabytes, or a number with KB, MB, GB or TB")
            return math.ceil(float(found[1]) * _MEGABYTES[found[2].upper()])
        return value

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a profile from YAML.

        Raises:
            UsageError: no such file, not YAML, an unknown key (with the nearest), a value of the wrong type.
        """
        try:
            # everything as text: an account may be called 1 or true
            content = load_yaml(path.read_text(encoding="utf-8"), as_text=True)
        except FileNotFoundError:
            raise UsageError(f"--profile {path}: no such file; the shipped ones are in slurm/") from None
        except UnicodeDecodeError as error:
            raise UsageError(f"profile {path} is not UTF-8 text ({error}); save it as such") from None
        except InvalidYaml as error:
            raise UsageError(f"profile {path}{error.where}: not valid YAML: {error}") from None
        return cls.checked({} if content in ("", None) else content, f"profile {path}")

    @classmethod
    def checked(cls, content: Any, origin: str) -> Self:
        """Validate keys and values; `origin` names them in errors."""
        if not isinstance(content, Mapping):
            raise UsageError(
                f"{origin} must be a mapping with keys such as {', '.join(list(cls.model_fields)[:4])}"
            )
        for key in content:
            if key not in cls.model_fields:
                raise UsageError(f"{origin}: unknown key {key!r}{nearest(str(key), cls.model_fields)}")
        try:
            return cls.model_validate({key: None if v == "" else v for key, v in content.items()})
        except ValidationError as error:
            raise UsageError(f"{origin}: {summarise_validation(error)}") from None

    def overridden(self, changes: Mapping[str, Any], origin: str) -> Self:
        """This profile with `changes`."""
        return self.checked(self.model_dump() | dict(changes), origin)
