"""Uploads with Django: scored first, then stored, held back for a person, or rejected.

Run it: KESHIKARAN_URL=http://127.0.0.1:8000 python examples/django_uploads.py runserver 8080

In a project of your own you need `PhotoForm` and `upload`; the rest makes this file run alone.
"""

from __future__ import annotations

import os
import secrets
import sys
import uuid
from functools import cache

from django import forms
from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

from keshikaran import Client
from upload_guard import fate_of

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        KESHIKARAN_TOKEN=os.environ.get("KESHIKARAN_TOKEN"),
        KESHIKARAN_URL=os.environ.get("KESHIKARAN_URL", "http://127.0.0.1:8000"),
        MEDIA_ROOT=os.environ.get("UPLOADS", "uploads"),
        ROOT_URLCONF=__name__,
        SECRET_KEY=secrets.token_hex(),
    )

_STATUS = {"store": 201, "review": 202, "reject": 422}


@cache
def client() -> Client:
    """One for each process; it keeps its connections."""
    return Client(settings.KESHIKARAN_URL, token=settings.KESHIKARAN_TOKEN, timeout_s=10)


class PhotoForm(forms.Form):
    """A `FileField`: an `ImageField` would have Pillow open the upload in this process."""

    file = forms.FileField(allow_empty_file=True)

    def clean_file(self) -> object:
        """Refuse what is blocked; what is not sure to pass is marked."""
        file = self.cleaned_data["file"]
        self.fate, _ = fate_of(client(), file)
        if self.fate == "reject":
            raise forms.ValidationError("This picture may not be shown here.", code="blocked")
        return file


@require_POST
def upload(request: HttpRequest) -> JsonResponse:
    """Keep what passed under `public`, and what a person must see under `held`."""
    form = PhotoForm(request.POST, request.FILES)
    if not form.is_valid():
        return JsonResponse({"fate": "reject", "errors": form.errors}, status=422)
    place = "public" if form.fate == "store" else "held"
    name = f"{place}/{uuid.uuid4().hex}"  # never the uploader's own
    FileSystemStorage().save(name, form.cleaned_data["file"])
    return JsonResponse({"fate": form.fate}, status=_STATUS[form.fate])


urlpatterns = [path("photos", upload)]

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
