"""How artifacts.yml and images.yml are read: checked against a model, mistakes named by their field."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from armillary.files import read_yaml

Model = TypeVar("Model", bound=BaseModel)


class ManifestError(RuntimeError):
    """A manifest, or a folder it names, is not as it must be."""


def read_manifest(path: Path, model: type[Model]) -> Model:
    """Return what a manifest says.

    Raises:
        ManifestError: names the file and the field.
    """
    try:
        return model.model_validate(read_yaml(path))
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise ManifestError(f"{path} is no YAML: {error}") from error
    except ValidationError as error:
        wrong = "\n".join(
            f"    {'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
            for each in error.errors()
        )
        raise ManifestError(f"{path}:\n{wrong}") from error
