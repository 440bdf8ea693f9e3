"""The demonstration: a small made-up data set for a harmless policy.

Advertising pasted on a picture is objectionable, plain pictures are fine. `pictures` puts a
scene or a photograph (`scenes`, `backgrounds`) and overlays (`overlays`) or harmless
`lookalikes` together.
"""

from keshikaran.demo.pictures import DemoPictures, make_pictures

__all__ = ["DemoPictures", "make_pictures"]
