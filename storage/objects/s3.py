"""Objects in a bucket of any S3 server.

The client is boto3 because its retries can be switched off and it reads every usual source of
credentials. A client that itself repeats a lost create-only PUT would report "exists" for its own
object. So one request is one try, and this module repeats reads, listings and deletes within its
patience. Every object carries its own digest.

Invariant: `put_new` returns CREATED only if the server said so, with the digest of what was sent. A
refusal is never retried. Error messages hold no credentials and no text of the server.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointResolutionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as NoConnection
from botocore.parsers import ResponseParserError

from storage.errors import (
    ConfigurationError,
    NothingFound,
    ObjectCorrupt,
    ObjectTooLarge,
    StepmillError,
    StoreRefused,
    StoreUnavailable,
)
from storage.objects.client import READ_S, legible, s3_client
from storage.objects.paced import Pace, exchange
from storage.objects.paging import NoEnd, Page, pages
from storage.objects.patience import PATIENT, Patience
from storage.objects.store import Entry, Put, check_key, check_size, confirmed, is_key
from storage.rows.parquet import check_digest, sha256_of
from storage.secrecy import no_credentials, plain_url, shown_url

Answer = TypeVar("Answer")

OPTIONS = ("endpoint", "region", "style")
"""Query options of the URL: `?endpoint=http://host:port&region=…&style=path`."""

ADVICE = {
    "RequestTimeTooSkewed": "; this machine's clock differs from the server's",
    "ExpiredToken": "; the credentials have expired",
    "501": "; this store can't create objects conditionally, so it can't hold a run",
    "403": "; check the credentials and their permissions for this prefix",
    "401": "; check the credentials and their permissions for this prefix",
}
"""What a person can do about a refusal, by its code or status."""

LAST_S = 1.0
"""Seconds that a try may stand still that begins when patience ends."""

BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,62}")

TRANSPORT = (
    NoConnection,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
    ResponseParserError,
    CredentialRetrievalError,
)
"""No reply, a partial or unreadable one, or no credentials from their provider."""

PASSING = {
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "XAmzContentSHA256Mismatch",
}
"""Error codes of one failed request: the next try may pass, whatever the HTTP status."""


@dataclass(frozen=True, slots=True)
class S3Store:
    """A prefix of a bucket."""

    bucket: str
    prefix: str
    """Empty, or ends with a slash."""
    options: tuple[tuple[str, str], ...] = ()
    patience: Patience = PATIENT
    client: Any = field(default=None, repr=False, compare=False)

    @classmethod
    def at(cls, url: str, patience: Patience = PATIENT) -> S3Store:
        """Open `s3://bucket/prefix?endpoint=…`; asks the server nothing."""
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        try:
            no_credentials(url)
            plain_url(options.get("endpoint", ""))
        except ValueError as error:
            raise ConfigurationError(f"store: the URL {error} (AWS_* or ~/.aws)") from None
        if parts.fragment:
            raise ConfigurationError("store: write %23 for # in the URL")
        for name in options.keys() - set(OPTIONS):
            meant = "".join(f": did you mean {of}?" for of in get_close_matches(name, OPTIONS, 1))
            known = ", ".join(OPTIONS)
            raise ConfigurationError(f"store: an option of the URL is none of {known}{meant}")
        if not BUCKET.fullmatch(parts.netloc):
            raise ConfigurationError(
                f"store {shown_url(url)!r} names no bucket: s3://bucket/prefix"
            )
        prefix = parts.path.strip("/")
        if prefix:
            try:
                prefix = check_key(prefix) + "/"
            except ValueError:
                raise ConfigurationError(
                    f"store {shown_url(url)!r}: the prefix is not a plain path"
                ) from None
        kept = tuple(sorted(options.items()))
        return cls(parts.netloc, prefix, kept, patience, s3_client(options))

    def __reduce__(self) -> tuple[Callable[[str, Patience], S3Store], tuple[str, Patience]]:
        """Pickle the URL and patience; the other process opens its own connection."""
        return type(self).at, (self.url, self.patience)

    @property
    def url(self) -> str:
        """`s3://bucket/prefix?endpoint=…`."""
        query = f"?{urlencode(self.options, safe=':/', quote_via=quote)}" if self.options else ""
        return f"s3://{self.bucket}/{self.prefix.rstrip('/')}{query}".replace("/?", "?")

    def put_new(self, key: str, data: bytes) -> Put:
        """Send one conditional PUT and translate the server's answer."""
        md5 = hashlib.md5(data, usedforsecurity=False)
        try:
            with exchange(min(READ_S, self.patience.deadline_s)) as pace, legible(pace):
                reply = self.client.put_object(
                    Bucket=self.bucket,
                    Key=self._name(key),
                    Body=data,
                    IfNoneMatch="*",
                    ContentMD5=base64.b64encode(md5.digest()).decode(),
                    Metadata={"sha256": sha256_of(data)},
                )
        except TRANSPORT:
            return Put.UNKNOWN
        except ClientError as error:
            code, status = _code(error)
            if status == 412:
                return Put.EXISTS
            if _passing(code, status):
                return Put.UNKNOWN
            raise self._refused("PUT", key, code, status) from None
        except BotoCoreError as error:
            raise self._unusable(error) from None
        return confirmed(reply.get("ETag"), md5.hexdigest())

    def get(self, key: str, most: int | None = None) -> bytes:
        """The whole object, checked against the digest it was stored with."""
        name = self._name(key)

        def fetch(pace: Pace) -> bytes:
            reply = self.client.get_object(Bucket=self.bucket, Key=name)
            with closing(reply["Body"]) as body:  # itself a context, but one of raw errors
                size = reply.get("ContentLength")
                if "ETag" not in reply or not 0 <= (-1 if size is None else size) <= sys.maxsize:
                    raise self._no_store("GET", key)
                check_size(key, size, most)
                pace.expect(size)
                data: bytes = body.read()
            if len(data) != size:
                raise ObjectCorrupt(f"{key}: {len(data)} of {size} bytes came")
            claimed = reply.get("Metadata", {}).get("sha256")
            if claimed is not None:
                check_digest(key, data, claimed)
            return data

        return self._repeated("GET", key, fetch)

    def list(self, prefix: str, after: str = "", strays: bool = False) -> Iterator[Entry]:
        """List page by page; each page is retried on its own."""
        more = {"StartAfter": self.prefix + after} if after else {}
        return self._entries(prefix, more, strays)

    def files(self, prefix: str) -> Iterator[Entry]:
        """The keys without a further slash: the server skips the others."""
        return self._entries(prefix, {"Delimiter": "/"})

    def folders(self, prefix: str) -> Iterator[str]:
        """The names below the prefix: the server skips what lies deeper."""
        start = len(self.prefix + prefix)
        for page in self._pages(prefix, {"Delimiter": "/"}):
            for item in page.get("CommonPrefixes", []):
                if is_key(name := item["Prefix"][start:-1]):
                    yield name

    def modified(self, key: str) -> float | None:
        """`Last-Modified`, by the server's clock."""
        name = self._name(key)
        reply = self._repeated(
            "HEAD", key, lambda _: self.client.head_object(Bucket=self.bucket, Key=name)
        )
        return float(reply["LastModified"].timestamp()) if "LastModified" in reply else None

    def delete(self, key: str) -> None:
        """Remove the object."""
        name = self._name(key)
        self._repeated(
            "DELETE", key, lambda _: self.client.delete_object(Bucket=self.bucket, Key=name)
        )

    def _entries(self, prefix: str, more: dict[str, str], strays: bool = False) -> Iterator[Entry]:
        for page in self._pages(prefix, more):
            for item in page.get("Contents", []):
                key = item["Key"].removeprefix(self.prefix)
                if strays or is_key(key):
                    yield Entry(key, item["Size"])

    def _pages(self, prefix: str, more: dict[str, str]) -> Iterator[Page]:
        def fetch(token: dict[str, str]) -> Page:
            return self._repeated("LIST", prefix, partial(self._page, prefix, more | token))

        try:
            yield from pages(fetch)
        except NoEnd:
            raise StoreUnavailable(f"{self.url}: LIST {prefix}: it has no end") from None

    def _page(self, prefix: str, more: dict[str, str], _: Pace) -> Page:
        page: Page = self.client.list_objects_v2(
            Bucket=self.bucket, Prefix=self.prefix + prefix, **more
        )
        found = [*page.get("Contents", []), *page.get("CommonPrefixes", [])]
        names = [each.get("Key" if "Size" in each else "Prefix", "") for each in found]
        asked = all(name.startswith(self.prefix + prefix) for name in names)
        if "IsTruncated" not in page or not asked:  # the keys of others are never deleted
            raise self._no_store("LIST", prefix)
        return page

    def _name(self, key: str) -> str:
        return self.prefix + check_key(key)

    def _repeated(self, verb: str, key: str, request: Callable[[Pace], Answer]) -> Answer:
        """Repeat an idempotent request until it is answered or patience ends."""
        trouble: StepmillError = StoreUnavailable(f"{self.url}: {verb} {key}: no answer")
        began = self.patience.clock()
        for number in self.patience.attempts():
            if number:
                self.patience.still_trying(began, trouble)
            left = began + self.patience.deadline_s - self.patience.clock()
            try:
                with exchange(min(READ_S, max(left, LAST_S))) as pace, legible(pace):
                    return request(pace)
            except TRANSPORT as error:
                server = urlsplit(self.client.meta.endpoint_url).netloc.rpartition("@")[2]
                trouble = StoreUnavailable(
                    f"{self.url}: {verb} {key}: {type(error).__name__} ({server})"
                )
            except ObjectTooLarge:
                raise
            except (ObjectCorrupt, StoreUnavailable) as error:
                trouble = error
            except ClientError as error:
                code, status = _code(error)
                if code == "NoSuchKey" or (status == 404 and code in ("404", "NotFound")):
                    raise NothingFound(f"{self.url}: no object {key}") from None
                if not _passing(code, status):
                    raise self._refused(verb, key, code, status) from None
                trouble = StoreUnavailable(f"{self.url}: {verb} {key}: {code} ({status})")
            except BotoCoreError as error:
                raise self._unusable(error) from None
        raise trouble

    def _no_store(self, verb: str, key: str) -> StoreUnavailable:
        """Somebody else answered, such as a network that wants one to sign in."""
        return StoreUnavailable(f"{self.url}: {verb} {key}: the answer is not an S3 server's")

    def _refused(self, verb: str, key: str, code: str, status: int) -> StepmillError:
        """An error without the server's own words, which may hold secrets."""
        if code == "NoSuchBucket":
            return ConfigurationError(f"{self.url}: there is no bucket {self.bucket!r}")
        advice = ADVICE.get(code) or ADVICE.get(str(status), "")
        return StoreRefused(f"{self.url}: {verb} {key} was refused: {code} ({status}){advice}")

    def _unusable(self, error: BotoCoreError) -> StepmillError:
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return StoreRefused(
                f"{self.url}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "a profile or a role"
            )
        if isinstance(error, EndpointResolutionError):
            return ConfigurationError(
                f"{self.url}: the endpoint is no server's; check `endpoint` or AWS_ENDPOINT_URL"
            )
        return StoreRefused(f"{self.url}: {type(error).__name__}")


def _passing(code: str, status: int) -> bool:
    """Whether another try may succeed."""
    return (status >= 500 and status != 501) or status in (409, 429) or code in PASSING


def _code(error: ClientError) -> tuple[str, int]:
    """(error code, HTTP status) of a reply; a code that is no plain word becomes `?`."""
    code = str(error.response.get("Error", {}).get("Code", "?"))
    if not re.fullmatch(r"[A-Za-z0-9.]{1,60}", code):
        code = "?"
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return code, status
