"""What `/v2` answers, as OpenAPI describes it, and the writing of tensors: as JSON, or behind it."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from segsearch.core.bundle import Bundle
from segsearch.service.inference import PLATFORM, Answer, ModelName, Tensor, input_tensors, output_tensors
from segsearch.service.refused_load import RefusedLoad
from segsearch.service.rest.inference_body import BINARY, JSON, LENGTH_HEADER


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Live(_Answer):
    """The process answers."""

    live: bool = True


class Ready(_Answer):
    """The server can be asked."""

    ready: bool = True


class ModelReady(_Answer):
    """The model can be asked."""

    name: str
    ready: bool = True


class ServerMetadata(_Answer):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(_Answer):
    """A tensor that the model takes or gives."""

    name: str
    datatype: str
    shape: Annotated[list[int], Field(description="-1: of any size.")]

    @classmethod
    def of(cls, tensor: Tensor) -> "TensorMetadata":
        return cls(name=tensor.name, datatype=tensor.datatype, shape=list(tensor.shape))


class ModelMetadata(_Answer):
    """The model that scores."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: Annotated[
        dict[str, str] | None,
        Field(description="`refused_load_path`, `_reason` and `_at`, where the last load of a bundle was refused."),
    ] = None

    @classmethod
    def of(cls, bundle: Bundle, refused: RefusedLoad | None) -> "ModelMetadata":
        served = ModelName.of(bundle)
        return cls(
            name=served.name, versions=[served.version], platform=PLATFORM,
            inputs=[TensorMetadata.of(tensor) for tensor in input_tensors(bundle)],
            outputs=[TensorMetadata.of(tensor) for tensor in output_tensors(bundle)],
            parameters={f"refused_load_{name}": fact for name, fact in asdict(refused).items()} if refused else None,
        )  # fmt: skip


class InferenceOutput(_Answer):
    """A tensor of the answer."""

    name: str
    datatype: str
    shape: list[int]
    data: Annotated[list[float] | None, Field(description="Row by row; not there where the tensor is binary.")] = None
    parameters: Annotated[dict[str, int] | None, Field(description="`binary_data_size` of a binary tensor.")] = None


class InferenceAnswer(_Answer):
    """What the model says."""

    model_name: str
    model_version: str
    id: Annotated[str | None, Field(description="The request's, if it had one.")] = None
    parameters: Annotated[dict[str, str], Field(description="`digest`: SHA-256 of the bundle's manifest.")]
    outputs: list[InferenceOutput]


def written(answer: Answer, binary: frozenset[str]) -> tuple[bytes, dict[str, str]]:
    """The bytes of an `InferenceAnswer`, what is binary behind it, and the headers that say so."""
    head = {"model_name": answer.model.name, "model_version": answer.model.version}
    if answer.id:
        head["id"] = answer.id
    start = json.dumps({**head, "parameters": {"digest": answer.digest}})[:-1]
    outputs = ", ".join([_output(tensor, values, tensor.name in binary) for tensor, values in answer.outputs])
    text = f'{start}, "outputs": [{outputs}]}}'.encode()
    if not binary:
        return text, {"Content-Type": JSON}
    behind = [values.data for tensor, values in answer.outputs if tensor.name in binary]
    return b"".join([text, *behind]), {"Content-Type": BINARY, LENGTH_HEADER: str(len(text))}


def _output(tensor: Tensor, values: np.ndarray, binary: bool) -> str:
    described: dict[str, Any] = tensor._asdict()
    if binary:
        return json.dumps({**described, "parameters": {"binary_data_size": values.nbytes}})
    return f'{json.dumps(described)[:-1]}, "data": [{_numbers(values)}]}}'


def _numbers(values: np.ndarray) -> str:
    """Row by row, as the shortest decimals that give the float32s back; all are finite, as sessions see to."""
    # A row at a time: numpy's texts take a hundred bytes a number.
    return ",".join([",".join(row.astype(str).tolist()) for row in np.atleast_2d(values)])
