"""Are two pictures copies of one photograph? Judged on pixels.

`picture` holds a grey thumbnail in the sizes needed, `frame` takes bars and frames off it.
`coarse` finds where one small picture might lie on the other, `fine` lays it there exactly, and
`comparison` compares the two block by block. Two photographs of one scene agree in some blocks;
two copies of one photograph agree in nearly all that were not painted over. numpy only: serving
a model may ask this question too.
"""

from keshikaran.alignment.comparison import Evidence, compare, is_copy
from keshikaran.alignment.picture import (
    THUMBNAIL,
    TURNS,
    Picture,
    Turn,
    inverse,
    thumbnail_of,
    turned,
)

RULES = 2
"""Version of all that decides whether two pictures are copies."""

__all__ = [
    "RULES",
    "THUMBNAIL",
    "TURNS",
    "Evidence",
    "Picture",
    "Turn",
    "compare",
    "inverse",
    "is_copy",
    "thumbnail_of",
    "turned",
]
