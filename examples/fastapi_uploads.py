"""Uploads with FastAPI: scored first, then stored, held back for a person, or rejected.

Run it: KESHIKARAN_URL=http://127.0.0.1:8000 fastapi run examples/fastapi_uploads.py
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from fastapi import FastAPI, Response, UploadFile

from keshikaran import Client
from upload_guard import fate_of

_STATUS = {"store": 201, "review": 202, "reject": 422}


def make_app(client: Client, folder: Path) -> FastAPI:
    """An application that keeps what passed in `folder/public` and the rest in `folder/held`."""
    app = FastAPI()

    @app.post("/photos")
    def upload(file: UploadFile, response: Response) -> dict[str, str]:
        """Not `async`: FastAPI runs it in a thread, where waiting holds nobody up."""
        fate, _ = fate_of(client, file.file)
        response.status_code = _STATUS[fate]
        if fate == "reject":
            return {"fate": fate}
        name = uuid.uuid4().hex  # never the uploader's own
        place = folder / ("public" if fate == "store" else "held")
        place.mkdir(parents=True, exist_ok=True)
        with (place / name).open("wb") as stored:
            shutil.copyfileobj(file.file, stored)
        return {"fate": fate, "name": name}

    return app


app = make_app(
    Client(
        os.environ.get("KESHIKARAN_URL", "http://127.0.0.1:8000"),
        token=os.environ.get("KESHIKARAN_TOKEN"),
        timeout_s=10,
    ),
    Path(os.environ.get("UPLOADS", "uploads")),
)
