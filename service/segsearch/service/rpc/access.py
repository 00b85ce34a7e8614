"""What each rpc asks of a key, and where a call carries it. `security.guard` decides, as it does for `rest.access`."""

from collections.abc import Iterable
from typing import Final

from segsearch.core.errors import Unauthorised
from segsearch.service.security.keys import Scope

# Every method that the server answers; None: no key.
NEEDS: Final[dict[str, Scope | None]] = {
    "Search": Scope.read,
    "SearchStream": Scope.read,
    "Score": Scope.write,
    "ScoreStream": Scope.write,
    "Similar": Scope.read,
    "ListTags": Scope.read,
    "GetVideo": Scope.read,
    "DeleteVideo": Scope.write,
    "ListGenerations": Scope.read,
    "CompareGenerations": Scope.read,
    "ActivateGeneration": Scope.admin,
    "GetModel": Scope.read,
    "LoadModel": Scope.admin,
    "StartReindex": Scope.admin,
    "GetJob": Scope.read,
    "CancelJob": Scope.admin,
    "ModelMetadata": Scope.read,
    "ModelInfer": Scope.write,
    "ServerLive": None,
    "ServerReady": None,
    "ModelReady": None,
    "ServerMetadata": None,
    "Check": None,
    "Watch": None,
    "ServerReflectionInfo": None,
}

Metadata = Iterable[tuple[str, str | bytes]]


def key_of(metadata: Metadata) -> str | None:
    """The key of a call; raises Unauthorised where there is more than one."""
    keys = []
    for name, value in metadata:
        if name == "x-api-key":
            keys.append(str(value))
        elif name == "authorization":
            scheme, _, key = str(value).partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthorised("an authorization that is not Bearer")
            keys.append(key.strip())
    if len(keys) > 1:
        raise Unauthorised(f"{len(keys)} keys")
    return keys[0] if keys else None
