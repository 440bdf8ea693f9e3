"""Asking a server of ours from Python: the same predictions as `keshikaran.predictor`, over HTTP.

Needs urllib3 (extra `client`), and nothing of what runs a model.
"""

from keshikaran.client.answers import ServedModel
from keshikaran.client.client import Client

__all__ = ["Client", "ServedModel"]
