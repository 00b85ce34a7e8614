"""Signs a bundle with a key of one's own, in the format of OpenSSF's `model-signing`: who made it, and that it is so.

Where it stands: `packing` hands the finished directory over; `segsearch bundle verify --key` looks at the signature.
The package is an extra and loaded only here.
"""

from collections.abc import Callable
from pathlib import Path

from segsearch.core.bundle import SIGNATURE
from segsearch.core.errors import ConfigError, MissingExtra


def signer(private_key: Path) -> Callable[[Path], None]:
    """What adds the SIGNATURE to a finished bundle directory.

    private_key: a PEM file with an unencrypted key of an elliptic curve; raises ConfigError for any other.
    """
    try:
        from model_signing import hashing, signing
    except ImportError as error:
        raise MissingExtra("export --sign-key", "sign", error.name or "model-signing") from None
    config = signing.Config()
    try:
        config.use_elliptic_key_signer(private_key=private_key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        wish = f"a PEM file with an unencrypted elliptic-curve key ({type(error).__name__}: {error})"
        raise ConfigError("sign_key", str(private_key), wish) from None
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False))

    def sign(directory: Path) -> None:
        config.sign(directory, directory / SIGNATURE)

    return sign
