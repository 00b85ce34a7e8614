"""Puts the web application together: the one place where library, settings and routes meet."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from segsearch.service.library import SegmentLibrary
from segsearch.service.rest.answers import BundleAnswer, Problem, score_texts, tag_texts
from segsearch.service.rest.problems import add_handlers
from segsearch.service.rest.request_body import BodyLimits
from segsearch.service.rest.routes import Edge, router
from segsearch.service.rest.uploads.reader import UploadReader
from segsearch.service.rest.uploads.upload import Rules
from segsearch.service.settings import Settings

DESCRIPTION = "Finds the moment: ranks the 5-second segments of a video library by tag."


def build(library: SegmentLibrary, settings: Settings) -> FastAPI:
    """The application that answers from `library`; it opens nothing and owns nothing."""
    # The interactive pages load scripts from third parties; /openapi.json is all that tools need.
    app = FastAPI(
        title="segsearch", version=version("segsearch"), description=DESCRIPTION, docs_url=None, redoc_url=None
    )
    bundle = library.scorer.bundle
    manifest = bundle.manifest
    app.state.edge = Edge(
        library=library,
        reader=UploadReader(Rules(manifest.features, settings.frame_limit)),
        bundle=BundleAnswer(name=manifest.name, version=manifest.version, digest=bundle.digest),
        tag_texts=tag_texts(bundle.vocabulary),
        body_limits=BodyLimits(settings.body_limit_bytes, settings.body_timeout_s),
    )
    score_texts()  # now, so that the first search need not
    app.include_router(router)
    add_handlers(app)
    # FastAPI takes its document from this method; replacing it is its documented way to extend OpenAPI.
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """OpenAPI with the schema of our problem documents in place of FastAPI's own error schemas."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["Problem"] = Problem.model_json_schema()
        app.openapi_schema = document
    return app.openapi_schema
