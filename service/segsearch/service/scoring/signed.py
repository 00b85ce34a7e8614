"""Whether a bundle was signed by the holder of a key, as it lies here, under the name and version it has.

Where it stands: `serve`, `reindex` and `bundle_cli` open bundles here that may have to be signed. That the files match
the manifest is checked first; the signature says whose they are. The package that reads signatures is an extra and
loaded only here.
"""

from importlib import import_module
from pathlib import Path

from segsearch.core.bundle import SIGNATURE, Bundle
from segsearch.core.errors import ConfigError, MissingExtra, SignatureRefused


def open_signed(path: Path, public_key: Path | None) -> Bundle:
    """A bundle whose files match its manifest, signed with the key that belongs to this one, where one is wanted.

    Raises BundleRefused, SignatureRefused among them.
    """
    bundle = Bundle.open(path)
    if public_key is not None:
        check_signature(bundle, public_key)
    return bundle


def check_signature(bundle: Bundle, public_key: Path) -> None:
    """Raises SignatureRefused unless the bundle is signed with the key that belongs to this one (a PEM file).

    A signature holds for a name and a version: an old bundle in a new one's place is refused, too.
    """
    try:
        hashing, verifying = (import_module(f"model_signing.{part}") for part in ("hashing", "verifying"))
    except ImportError as error:
        raise MissingExtra("a bundle's key", "sign", error.name or "model-signing") from None
    config = verifying.Config()
    try:
        config.use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        wish = f"a PEM file with an elliptic-curve public key ({type(error).__name__}: {error})"
        raise ConfigError("key", str(public_key), wish) from None
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False))
    directory = bundle.directory
    if not (directory / SIGNATURE).exists():
        raise SignatureRefused(directory, f"not signed; wanted {SIGNATURE}")
    try:
        config.verify(directory, directory / SIGNATURE)
    except Exception as error:  # cryptography's, JSON's and its own, without a common base
        reason = str(error) or "the signature is not that of the key"
        raise SignatureRefused(directory, f"{type(error).__name__}: {reason}") from None
    _check_place(bundle)


def _check_place(bundle: Bundle) -> None:
    directory, manifest = bundle.directory.resolve(), bundle.manifest
    found, signed = f"{directory.parent.name}/{directory.name}", f"{manifest.name}/{manifest.version}"
    if found != signed:
        raise SignatureRefused(bundle.directory, f"signed as {signed}, and lies at {found}")
