"""How much memory does training take, and does it grow with the number of images?

Trains in processes of their own on a quarter, a half and all of the photographs. What may grow is
the features (float32 in the table, float64 while fitting). What is measured is the process with the
children that decode for it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from common import clothing, keshikaran, machine, parser, show, temporary_folder
from keshikaran.backbones import load_backbone

_SHARES = (4, 2, 1)


def some_of(source: Path, target: Path, every: int) -> int:
    """Copy every n-th photograph of each class folder."""
    count = 0
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        (target / folder.name).mkdir(parents=True)
        for file in sorted(folder.iterdir())[::every]:
            shutil.copyfile(file, target / folder.name / file.name)
            count += 1
    return count


def main() -> None:
    """Measure."""
    chosen = parser(__doc__).parse_args()
    dim = load_backbone().dim
    rows: dict[str, object] = dict(machine())
    for every in _SHARES:
        with temporary_folder() as folder:
            count = some_of(clothing(chosen.data), folder / "images", every)
            place = ["--workspace", str(folder / "workspace"), "--json"]
            arguments = ["train", str(folder / "images"), "--positive", "dress", *place]
            _, _, cold = keshikaran(*arguments)
            _, _, warm = keshikaran(*arguments)
            megabytes = count * dim * 4 / 1e6
            rows[f"{count} images: features in float32, MB"] = megabytes
            rows[f"{count} images: peak memory of train, MB"] = cold
            rows[f"{count} images: the same with cached features, MB"] = warm
    show("memory", rows)


if __name__ == "__main__":
    main()
