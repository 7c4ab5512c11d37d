"""Bounds and strictness that pydantic checks in every settings class."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from storage.errors import ConfigurationError
from storage.runs.layout import check_run_name
from storage.secrecy import no_credentials, plain_url

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
"""An unknown key is an error; a field's docstring is its description."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Part = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


Plain = Annotated[str, AfterValidator(no_credentials)]
"""A path, a name or a URL, of which none holds credentials: it is stored and shown."""
ServerUrl = Annotated[str, AfterValidator(plain_url)]
"""The base URL of a server; requests append their paths to it."""


def _name(text: str) -> str:
    try:
        return check_run_name(text)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None


Name = Annotated[str, AfterValidator(_name)]
"""Name of a run or a training, which is a folder and part of a URL."""
Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False)]
