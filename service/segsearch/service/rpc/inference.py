"""The methods of the Open Inference Protocol: the model behind `Score` for clients who speak that.

Where it stands: `inference_messages` knows what the messages mean; `rest.inference` is the twin over HTTP, `servicer`
its neighbour with methods of our own.
"""

from importlib.metadata import version as release
from typing import Final

import grpc
from google.protobuf.message import Message

from segsearch.core.errors import SegsearchError
from segsearch.core.segments import segment_count
from segsearch.inference import open_inference_pb2 as pb
from segsearch.service.inference import EXTENSIONS, SERVER, Answer, ModelName, begin, check_ready, served
from segsearch.service.library import SegmentLibrary
from segsearch.service.rpc.calls import Call, Calls
from segsearch.service.rpc.inference_messages import answer_message, checked_request, metadata_message, read_request
from segsearch.service.rpc.methods import plain, unary
from segsearch.service.rpc.servicer import LATE_S, caller_of
from segsearch.service.settings import Settings
from segsearch.service.uploads.upload import Rules

INFERENCE_SERVICE: Final = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class InferenceServicer:
    """Answers from a library. Methods may be called from any number of threads."""

    def __init__(self, library: SegmentLibrary, settings: Settings, calls: Calls):
        self._library, self._calls = library, calls
        self._rules = Rules(library.scorer.bundle.manifest.features, settings.frame_limit)
        self._limit_s = settings.body_timeout_s + LATE_S

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """By method: what a gRPC server runs."""
        calls = self._calls
        return {
            "ServerLive": plain(calls, "ServerLive", pb.ServerLiveRequest, self._server_live),
            "ServerReady": plain(calls, "ServerReady", pb.ServerReadyRequest, self._server_ready),
            "ModelReady": plain(calls, "ModelReady", pb.ModelReadyRequest, self._model_ready),
            "ServerMetadata": plain(calls, "ServerMetadata", pb.ServerMetadataRequest, self._server_metadata),
            "ModelMetadata": plain(calls, "ModelMetadata", pb.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": unary(calls, "ModelInfer", self._limit_s, self._model_infer),
        }

    def _server_live(self, _: pb.ServerLiveRequest) -> Message:
        return pb.ServerLiveResponse(live=True)

    def _server_ready(self, _: pb.ServerReadyRequest) -> Message:
        return pb.ServerReadyResponse(ready=self._is_ready())

    def _model_ready(self, request: pb.ModelReadyRequest) -> Message:
        served(self._library, ModelName(request.name, request.version))
        return pb.ModelReadyResponse(ready=self._is_ready())

    def _server_metadata(self, _: pb.ServerMetadataRequest) -> Message:
        return pb.ServerMetadataResponse(name=SERVER, version=release("segsearch"), extensions=EXTENSIONS)

    def _model_metadata(self, request: pb.ModelMetadataRequest) -> Message:
        return metadata_message(served(self._library, ModelName(request.name, request.version)))

    def _model_infer(self, message: bytes, call: Call) -> bytes:
        came = read_request(message)
        bundle = served(self._library, ModelName(came.model_name, came.model_version))
        request = checked_request(came, bundle, self._rules)
        call.check_wanted()
        begun = begin(self._library, request, caller_of(call))
        call.when_over(begun.scores.cancel)
        answer = Answer.of(request, begun)
        self._calls.metrics.scored_segments.inc(segment_count(len(begun.frames)))
        written: bytes = answer_message(answer, raw=bool(came.raw_input_contents)).SerializeToString()
        return written

    def _is_ready(self) -> bool:
        try:
            check_ready(self._library)
        except (SegsearchError, OSError):
            return False
        return True
