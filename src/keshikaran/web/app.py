"""The routes: what each takes, who may ask, what it answers."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, Router

from keshikaran.errors import KeshikaranError
from keshikaran.types import Prediction
from keshikaran.web import metrics, openapi
from keshikaran.web.body import check_declared, pieces, read_whole
from keshikaran.web.budget import BodyMemory, Lease
from keshikaran.web.connection_table import ConnectionTable
from keshikaran.web.docs_page import CONTENT_SECURITY_POLICY, docs_page
from keshikaran.web.edge import NOTES_KEY, Edge
from keshikaran.web.hosts import HostCheck
from keshikaran.web.metrics import Metrics
from keshikaran.web.multipart import Upload, boundary_of, name_from, read_uploads
from keshikaran.web.page import HEADERS, page_files
from keshikaran.web.problems import RequestRefusedError
from keshikaran.web.requests import (
    check_encoding,
    check_token,
    declared_length,
    drop_what_is_here,
    file_in,
    while_there,
)
from keshikaran.web.service import Service
from keshikaran.web.settings import ServerSettings, is_loopback
from keshikaran.web.tokens import TokenFile

MULTIPART = "multipart/form-data"
OCTETS = "application/octet-stream"
_MAX_JSON_BYTES = 4096
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


class Api:
    """What the routes need, and the routes.

    Args:
        service: the model.
        settings: limits and files of tokens.
        figures: what `/metrics` shows.
        table: who is connected.

    Raises:
        UsageError: a file of tokens cannot be used.
    """

    def __init__(
        self,
        service: Service,
        settings: ServerSettings,
        figures: Metrics,
        table: ConnectionTable | None = None,
    ) -> None:
        self.service, self.settings = service, settings
        self._metrics = figures
        self._table = table or ConnectionTable(settings)
        self._tokens = TokenFile(settings.token_file) if settings.token_file else None
        admin = settings.admin_token_file
        self._admins = TokenFile(admin) if admin else None
        self._memory = BodyMemory(
            settings.body_memory_bytes,
            settings.unannounced_memory_bytes,
            settings.memory_wait_s,
        )
        self._openapi = openapi.document(settings)
        self._files = page_files(settings)
        routes = [
            Route("/v1/predict", self._predict, methods=["POST"]),
            Route("/v1/model", self._model, methods=["GET", "POST"]),
            Route("/livez", self._livez, methods=["GET"]),
            Route("/readyz", self._readyz, methods=["GET"]),
            Route("/metrics", self._figures, methods=["GET"]),
            Route("/openapi.json", self._description, methods=["GET"]),
            Route("/docs", self._docs, methods=["GET"]),
            *(Route(path, self._page, methods=["GET"]) for path in self._files),
        ]
        paths = frozenset(route.path for route in routes)
        router = Router(routes, redirect_slashes=False)
        self.app = Edge(router, figures, paths, settings.send_timeout_s, HostCheck(settings))

    def reload_tokens(self) -> None:
        """Read the files of tokens again."""
        for tokens in (self._tokens, self._admins):
            if tokens is not None:
                tokens.reload()

    # Routes

    async def _predict(self, request: Request) -> Response:
        self._need_token(request)
        content_type = request.headers.get("content-type", OCTETS)
        kind = content_type.partition(";")[0].strip().lower()
        check_encoding(request)
        several = kind == MULTIPART
        if not several and kind != OCTETS and not kind.startswith("image/"):
            what = f"Its Content-Type is {kind[:80]!r}."
            hint = f"Send image/…, {OCTETS} or {MULTIPART}."
            raise RequestRefusedError("unsupported_media_type", what, hint)
        declared = declared_length(request)
        limit = self.settings.max_request_bytes if several else self.settings.max_body_bytes
        check_declared(declared, limit)
        try:
            self.service.check_room()
        except RequestRefusedError:
            await drop_what_is_here(request, declared)
            raise
        with self._memory.lease(declared) as lease:
            if several:
                return await self._predict_several(request, boundary_of(content_type), lease)
            return await self._predict_one(request, lease)

    async def _predict_one(self, request: Request, lease: Lease) -> Response:
        limit = self.settings.max_body_bytes
        with self._metrics.timed("body"):
            data = await read_whole(request.receive, self.settings, lease, limit)
        name = name_from(request.headers.get("content-disposition", ""))
        (prediction,) = await self._judge(request, [Upload(name, data)])
        if prediction.verdict == "undecided":
            reason = prediction.reason or ""
            more = {"prediction": prediction.to_dict()}
            raise RequestRefusedError("undecided", reason, "Let a person look.", more=more)
        return JSONResponse(prediction.to_dict())

    async def _predict_several(self, request: Request, boundary: bytes, lease: Lease) -> Response:
        limit = self.settings.max_request_bytes
        body = pieces(request.receive, self.settings, lease, limit)
        with self._metrics.timed("body"):
            uploads = await read_uploads(body, boundary, self.settings)
        predictions = await self._judge(request, uploads)
        return JSONResponse({"predictions": [each.to_dict() for each in predictions]})

    async def _judge(self, request: Request, uploads: list[Upload]) -> list[Prediction]:
        predictions = await while_there(request, self.service.predict(uploads))
        notes = request.scope["state"][NOTES_KEY]
        notes["model_id"] = predictions[0].model_id
        notes["verdicts"] = [each.verdict for each in predictions]
        notes["bytes"] = sum(len(upload.data) for upload in uploads)
        return predictions

    async def _model(self, request: Request) -> Response:
        if request.method == "POST":
            return await self._load_model(request)
        self._need_token(request)
        manifest = replace(self.service.manifest, reference={})  # 70 kB that say nothing to people
        return Response(manifest.to_json(), media_type="application/json")

    async def _load_model(self, request: Request) -> Response:
        if self._admins is None:
            what = "It was started without tokens for those who may change the model."
            raise RequestRefusedError("forbidden", what, "Send it SIGHUP instead.")
        check_token(request, self._admins)
        with self._memory.lease(declared_length(request)) as lease:
            body = await read_whole(request.receive, self.settings, lease, _MAX_JSON_BYTES)
        name = file_in(body)
        try:
            manifest = await self.service.reload(name)
        except RequestRefusedError:
            raise
        except KeshikaranError as error:
            raise RequestRefusedError("model_refused", error.what, error.hint) from error
        return JSONResponse({"model_id": manifest.model_id})

    async def _livez(self, _: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def _readyz(self, _: Request) -> Response:
        if self.app.draining:
            return JSONResponse({"status": "stopping"}, 503)
        return JSONResponse({"status": "ready", "model_id": self.service.manifest.model_id})

    async def _figures(self, request: Request) -> Response:
        client = request.client.host if request.client else ""
        forwarded = any(name in request.headers for name in _FORWARDED)
        if forwarded or not is_loopback(client):
            self._need_token(request)
        self._metrics.connections.set(self._table.open)
        self._metrics.body_bytes.set(self._memory.used)
        return Response(self._metrics.text(), headers={"content-type": metrics.CONTENT_TYPE})

    async def _description(self, _: Request) -> Response:
        return JSONResponse(self._openapi)

    async def _docs(self, _: Request) -> Response:
        policy = {"content-security-policy": CONTENT_SECURITY_POLICY}
        return HTMLResponse(docs_page(self._openapi), headers=policy)

    async def _page(self, request: Request) -> Response:
        file = self._files[request.scope["path"]]
        return Response(file.body, headers={**HEADERS, "content-type": file.media_type})

    def _need_token(self, request: Request) -> None:
        if self._tokens is not None:
            check_token(request, self._tokens)
