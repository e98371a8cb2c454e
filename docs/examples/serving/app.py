"""A web server for a cascade: in Python, as its ONNX file, and with a member behind HTTP.

``python app.py --help`` lists the limits, ``/docs`` of a running server the addresses.
"""

import argparse
import logging
import warnings
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Annotated

import anyio
import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from metrics import CountRequests, Metrics
from models import HIGHEST, LOWEST, N_REMOTE_THREADS, load_or_train, serve_all
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError
from remote import RemoteProba
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import ClientDisconnect
from threadpoolctl import threadpool_limits

from sklearn_cascade.exceptions import StageFailedWarning


@dataclass(frozen=True)
class Settings:
    """Options of the command line; sizes in rows and bytes, times in seconds."""

    folder: str = "output/serving"
    service_url: str = ""
    service_timeout: float = 0.5
    max_rows: int = 1000
    max_bytes: int = 1_000_000
    body_timeout: float = 10.0
    max_connections: int = 200
    stop_timeout: int = 30


# A body of NaN holds thousands of errors: only the first is reported, and no input is sent back.
Number = Annotated[float, Field(ge=LOWEST, le=HIGHEST, allow_inf_nan=False)]
Row = Annotated[list[Number], FailFast()]


class Batch(BaseModel):
    """Rows to predict."""

    model_config = ConfigDict(strict=True, extra="forbid")
    rows: Annotated[list[Row], FailFast()]


# For the OpenAPI page; the bytes are read and checked here, not by FastAPI.
BODY = {"required": True, "content": {"application/json": {"schema": Batch.model_json_schema()}}}


def create_app(settings):
    """Return the application; it loads its models when it starts."""
    app = FastAPI(title="A cascade of two stages", lifespan=running)
    app.state.settings, app.state.metrics = settings, Metrics()
    # Older versions of FastAPI accept `max_body_size` and ignore it.
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=settings.max_bytes)
    app.add_middleware(CountRequests, metrics=app.state.metrics)
    app.add_exception_handler(ClientDisconnect, lambda request, error: Response(status_code=400))
    app.post("/models/{name}/predict", openapi_extra={"requestBody": BODY})(predict)
    add_reports(app)
    return app


@asynccontextmanager
async def running(app):
    """Load the models; close the client when the server stops."""
    state, settings = app.state, app.state.settings
    report_failed_stages()
    client = None
    if settings.service_url:
        client = RemoteProba(
            settings.service_url, timeout=settings.service_timeout, n_connections=N_REMOTE_THREADS
        )
    state.served = serve_all(load_or_train(settings.folder), client)
    # A member that hangs blocks only the threads of its own model.
    state.threads = {
        name: anyio.CapacityLimiter(served.n_threads) for name, served in state.served.items()
    }
    yield
    state.metrics.write(f"{settings.folder}/last.prom")
    if client is not None:
        client.close()


def report_failed_stages():
    """Send the cause of each failed stage to the log."""
    # Any other action remembers every message that it has seen.
    warnings.simplefilter("always", StageFailedWarning)
    logging.captureWarnings(True)


async def predict(name: str, request: Request) -> Response:
    """Return label, confidence, exit stage and cost of each row of a batch."""
    state = request.app.state
    served = find(state, name)
    body = await read_body(request, state.settings.body_timeout)
    return await anyio.to_thread.run_sync(
        respond, body, name, served, state, limiter=state.threads[name]
    )


def find(state, name):
    """Return the served model of that name."""
    if name not in state.served:
        raise HTTPException(404, f"no model {name[:50]!r}; expected one of {sorted(state.served)}")
    return state.served[name]


async def read_body(request, timeout):
    """Return the body, which has to arrive in time; the framework counts its bytes."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json" or "content-encoding" in request.headers:
        raise HTTPException(415, "the body is not plain JSON; send Content-Type: application/json")
    try:
        with anyio.fail_after(timeout):
            return await request.body()
    except TimeoutError:
        raise HTTPException(
            408, f"the body took longer than {timeout:g} s", {"Connection": "close"}
        ) from None


def respond(body, name, served, state):
    """Return the response to a body, in a thread."""
    X = rows_of(body, served.cascade.n_features_in_, state.settings.max_rows)
    found, fallback_rows = served.predict(X)
    state.metrics.count(name, served, found, fallback_rows)
    return JSONResponse(
        {
            "model": name,
            "label": found.label.tolist(),
            "confidence": found.proba.max(axis=1).tolist(),
            "exit_stage": found.exit_stage.tolist(),
            "cost": found.cost.tolist(),
            "cost_unit": served.cascade.cost_unit_,
            "fallback_rows": fallback_rows.tolist(),
        }
    )


def rows_of(body, n_features, max_rows):
    """Return the rows of a body, or raise an error that names what is wrong with it."""
    try:
        rows = Batch.model_validate_json(body).rows
    except ValidationError as error:
        raise HTTPException(*describe(error)) from None
    if len(rows) > max_rows:
        raise HTTPException(
            413, f"{len(rows)} rows; expected at most {max_rows}: send them in parts"
        )
    if not rows:
        raise HTTPException(422, "rows is empty; expected at least one row")
    for number, row in enumerate(rows):
        if len(row) != n_features:
            raise HTTPException(
                422, f"rows[{number}] has {len(row)} numbers; expected {n_features}, one per pixel"
            )
    return np.array(rows)


def describe(error):
    """Return status and text of the first error."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return 400, f"the body is not JSON: {first['msg']}"
    return 422, f"{where[:50] or 'the body'}: {first['msg']}"


def add_reports(app):
    """Add the endpoints for operators."""

    @app.get("/health")
    def health():
        return {"status": "ok", "models": sorted(app.state.served)}

    @app.get("/models")
    def models():
        settings = asdict(app.state.settings)
        return {
            "limits": {key: settings[key] for key in ("max_rows", "max_bytes")},
            "models": {name: description(served) for name, served in app.state.served.items()},
        }

    @app.get("/models/{name}/monitor")
    def monitor(name: str):
        served = find(app.state, name)
        with served.lock:
            return {
                "summary": served.monitor.summary(),
                "text": str(served.monitor),
                "state": served.monitor.to_dict(),
            }

    @app.get("/metrics")
    def metrics():
        return Response(app.state.metrics.text(), media_type=app.state.metrics.media_type)


def description(served):
    """Return the properties of a model that a client may need."""
    cascade = served.cascade
    return {
        "stages": list(cascade.named_estimators_),
        "thresholds": cascade.thresholds_.tolist(),
        "costs": list(cascade.costs_),
        "cost_unit": cascade.cost_unit_,
        "n_features": cascade.n_features_in_,
    }


def main():
    """Serve until SIGTERM or SIGINT, then finish the requests in progress."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in asdict(Settings()).items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(value), default=value, help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8000)
    chosen = vars(parser.parse_args())
    port = chosen.pop("port")
    settings = Settings(**chosen)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    with threadpool_limits(1):
        uvicorn.run(
            create_app(settings),
            port=port,
            access_log=False,
            limit_concurrency=settings.max_connections,
            timeout_graceful_shutdown=settings.stop_timeout,
        )


if __name__ == "__main__":
    main()
