"""Puts the web application together: the one place where library, settings and routes meet."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from segsearch.service.library import SegmentLibrary
from segsearch.service.page_tokens import PageTokens
from segsearch.service.rest import generations, inference, jobs, models, routes, search, similar, videos
from segsearch.service.rest.access import SCHEMES, check_routes, needs_of
from segsearch.service.rest.answers import Problem, tag_texts
from segsearch.service.rest.body_room import BodyRoom
from segsearch.service.rest.edge import Edge, failures
from segsearch.service.rest.exchange import Exchanges
from segsearch.service.rest.fast_score import FastScore
from segsearch.service.rest.fast_search import FastSearch
from segsearch.service.rest.idempotency import Remembered
from segsearch.service.rest.metrics import Metrics
from segsearch.service.rest.problems import add_handlers
from segsearch.service.rest.request_body import BodyLimits
from segsearch.service.rest.same_site import SameSite
from segsearch.service.rest.search_answers import SearchAnswers
from segsearch.service.rest.search_text import warm_up
from segsearch.service.rest.traced_requests import TracedRequests
from segsearch.service.security.guard import Guard
from segsearch.service.settings import Settings
from segsearch.service.stepping_back import step_back
from segsearch.service.tracing.trace import Traces
from segsearch.service.uploads.reader import FRAMES, UploadReader, frames_schema
from segsearch.service.uploads.upload import Rules

DESCRIPTION = "Finds the moment: ranks the 5-second segments of a video library by tag."
SCORE_THREADS: Final = 4  # parsing and writing hold the interpreter most of the time: more would only stand in its way


def build(
    library: SegmentLibrary, settings: Settings, guard: Guard | None = None, metrics: Metrics | None = None,
    traces: Traces | None = None,
) -> ASGIApp:  # fmt: skip
    """The application that answers from `library`; it opens no more than the file of keys.

    guard, metrics: where it shares them with a gRPC server. traces: where requests are told to. Raises KeyFileRefused.
    """
    metrics = metrics or Metrics(library)
    app = build_api(library, settings, metrics, guard)
    fast = FastSearch(
        FastScore(app, route=_route_of(app, routes.score)), route=_route_of(app, search.search), library=library,
        searches=app.state.searches, guard=app.state.guard, cache_bytes=settings.answer_cache_bytes,
    )  # fmt: skip
    own = SameSite(fast, loopback_only=settings.is_loopback and app.state.guard.keys is None)
    exchanges = Exchanges(own, metrics, log_requests=settings.log_requests)
    return TracedRequests(exchanges, traces) if traces else exchanges


def _route_of(app: FastAPI, endpoint: Callable[..., Any]) -> APIRoute:
    return next(route for route in app.routes if isinstance(route, APIRoute) and route.endpoint is endpoint)


def build_api(library: SegmentLibrary, settings: Settings, metrics: Metrics, guard: Guard | None = None) -> FastAPI:
    """The routes with all they need, as `Exchanges` calls them."""
    # The interactive pages load scripts from third parties; /openapi.json, a route of ours, is all that tools need.
    app = FastAPI(
        title="segsearch", version=version("segsearch"), description=DESCRIPTION,
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # `traced_requests` sees more, and all requests
    )  # fmt: skip
    bundle = library.scorer.bundle
    room = BodyRoom(max(settings.body_room_bytes, settings.body_limit_bytes))
    app.state.edge = Edge(
        library=library,
        reader=UploadReader(Rules(bundle.manifest.features, settings.frame_limit)),
        tag_texts=tag_texts(bundle.vocabulary),
        body_limits=BodyLimits(settings.body_limit_bytes, settings.body_timeout_s, room),
        metrics=metrics,
        remembered=Remembered(),
        score_threads=ThreadPoolExecutor(SCORE_THREADS, "score", initializer=step_back),
    )
    app.state.guard = guard or Guard.of(settings)
    app.state.searches = SearchAnswers(library, PageTokens(library.index.root))
    warm_up()  # now, so that the first search need not
    for part in (routes, search, similar, generations, models, jobs, videos, inference):
        # Not include_router, which wraps them: what each asks of a key would then be out of sight.
        app.router.routes.extend(part.router.routes)
    check_routes(app)
    add_handlers(app)
    # FastAPI takes its document from this method; replacing it is its documented way to extend OpenAPI.
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """OpenAPI with our problem documents in place of FastAPI's own error schemas, and what each route asks of a key."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["Problem"] = Problem.model_json_schema()
        schemas[FRAMES] = frames_schema(app.state.edge.reader.rules.spec)
        components["securitySchemes"] = SCHEMES
        for route in app.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                _describe_access(document["paths"][route.path_format], route, keys=app.state.guard.keys is not None)
        app.openapi_schema = document
    return app.openapi_schema


def _describe_access(operations: dict[str, Any], route: APIRoute, *, keys: bool) -> None:
    """Says of a route's operations whether they take a key, and what others are answered. keys: whether one must."""
    for method in route.methods or ():
        operation = operations[method.lower()]
        operation["responses"] |= {str(status): answer for status, answer in failures(403).items()}
        if needs_of(route).scope is None:
            continue
        operation["security"] = [{name: []} for name in SCHEMES] + ([] if keys else [{}])  # {}: or none
        operation["description"] += f"\n\nNeeds a key of scope {needs_of(route).scope} where keys are set."
        operation["responses"] |= {str(status): answer for status, answer in failures(401, 429).items()}
