"""What a container says about itself, read in plain Python before any library sees the file.

Libraries allocate canvases, inflate texts and follow chains of directories while they open a
file; by then it is too late to refuse. One module for each container, each with a function
`inspect(data, limits)`.
"""

from keshikaran.pixels.contract import ImageFormat
from keshikaran.pixels.headers import bmp, gif, isobmff, jpeg, jxl, png, tiff, webp
from keshikaran.pixels.headers.base import ImageHeader, Inspection, Inspector

INSPECTORS: dict[ImageFormat, Inspector] = {
    "jpeg": jpeg.inspect,
    "png": png.inspect,
    "webp": webp.inspect,
    "gif": gif.inspect,
    "bmp": bmp.inspect,
    "tiff": tiff.inspect,
    "avif": isobmff.inspect,
    "heic": isobmff.inspect,
    "jxl": jxl.inspect,
}

__all__ = ["INSPECTORS", "ImageHeader", "Inspection"]
