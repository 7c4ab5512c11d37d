"""Makes the boto3 client of an S3 server, and tells answers that no S3 server gives.

Invariant: one call of the client is one request, but where a bucket lies in another region: then it
asks once which. What bytes a server may send, the client's own parser raises nothing but an error
of botocore's.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, CredentialRetrievalError
from botocore.parsers import ResponseParserError
from botocore.session import get_session

from storage.errors import ConfigurationError
from storage.objects.paced import Pace, paced

CONNECT_S, READ_S = 5.0, 30.0
"""Seconds to connect, and seconds a request and its reply may stand still, in total."""
HELPER_S = 60.0
"""Seconds that a `credential_process` of ~/.aws/config may take: it may ask a person."""
STYLES: dict[str, Literal["path", "virtual", "auto"]] = {
    "path": "path",
    "virtual": "virtual",
    "auto": "auto",
}
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
UNREADABLE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What botocore raises for a number, a time or a tag that is none."""


def s3_client(options: dict[str, str]) -> Any:
    """Make a client without retries and with 64 connections. Raises ConfigurationError."""
    endpoint = options.get("endpoint") or None
    own = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    style = options.get("style") or ("path" if own else "auto")
    if style not in STYLES:
        raise ConfigurationError("store: the URL's style is not path or virtual")
    for name in SECRETS:
        if not all("!" <= letter <= "~" for letter in os.environ.get(name, "")):
            raise ConfigurationError(
                f"store: {name} holds a blank, an end of line or a letter that no key has: set it "
                "without"
            )
    config = Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        max_pool_connections=64,
        request_checksum_calculation="when_required",  # older servers refuse the newer trailers
        response_checksum_validation="when_required",
        s3={"addressing_style": STYLES[style]},
    )
    try:
        core = get_session()
        core.get_component("credential_provider").get_provider("custom-process")._popen = _Helper
        session = boto3.Session(botocore_session=core)
        region = options.get("region") or session.region_name or "us-east-1"
        client = session.client("s3", endpoint_url=endpoint, region_name=region, config=config)
    except CredentialRetrievalError as error:  # its text holds what a person's program said
        provider = error.kwargs["provider"]
        raise ConfigurationError(
            f"store: no credentials came from {provider}: check the AWS settings"
        ) from None
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"store: {error}: check AWS_* and ~/.aws") from None
    client.meta.events.register("before-call.s3.HeadBucket", _asked_once)
    return paced(client)


class _Helper(subprocess.Popen[bytes]):
    """A `credential_process`, for which botocore alone would wait without an end."""

    def communicate(self, *given: Any, **named: Any) -> tuple[bytes, bytes]:
        try:
            return super().communicate(*given, **{"timeout": HELPER_S, **named})
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()
            said = f"no answer in {HELPER_S:g} seconds"
            raise CredentialRetrievalError(provider="custom-process", error_msg=said) from None


@contextmanager
def legible(pace: Pace) -> Iterator[None]:
    """Surround a request. Raises ResponseParserError where the answer is no S3 server's."""
    try:
        yield
    except BotoCoreError:
        raise
    except UNREADABLE as error:
        if not pace.heard:  # a mistake of ours
            raise
        raise ResponseParserError(type(error).__name__) from None


def _asked_once(context: dict[str, Any], **_: Any) -> None:
    """Let no redirect of the question for a bucket's region ask it again, without end."""
    context.setdefault("s3_redirect", {})["redirected"] = True
