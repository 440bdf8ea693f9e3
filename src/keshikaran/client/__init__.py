"""Asking a server of ours from Python: the same predictions as `keshikaran.predictor`, over HTTP.

Needs urllib3 (extra `client`), and nothing of what runs a model.
"""

from keshikaran.client.client import Client
from keshikaran.client.contents import ServedModel

__all__ = ["Client", "ServedModel"]
