"""What an operator might use instead of a model of their own, asked about stored images.

`rival` says what a rival is, `packages` runs ready-made models from PyPI (`opennsfw`, `nudenet`),
`model_file` another model file of ours, `score_list` takes a list of scores made elsewhere, which
`score_file` reads; `choice` tells them apart by name. No package is imported before it is asked.

Packages never see a file: images are decoded by `pixels`, and they are handed arrays.
"""

from keshikaran.baselines.choice import PACKAGES, open_rival
from keshikaran.baselines.rival import Rival, RivalCard

__all__ = ["PACKAGES", "Rival", "RivalCard", "open_rival"]
