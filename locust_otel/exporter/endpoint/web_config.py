"""TLS, response headers and basic auth of `/metrics`, from a file that Prometheus users already know.

The format is the exporter-toolkit's:
https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md

Rules:

- A setting that is not supported is refused: an endpoint with less protection than its file says is worse than
  a run that does not start.
- All problems of a file are reported at once, without any hash, key or password.
- The file and its certificates are read once, before the run.
"""

from __future__ import annotations

import re
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from locust_otel.core.documents import Document, is_secret, read
from locust_otel.core.errors import ConfigurationError
from locust_otel.core.shape import Shape, refused, validated
from locust_otel.exporter.endpoint.access import WebConfig

_SLUG = "web-config"
_MAX_COST = 16  # about 4 s a check; Prometheus times out after 10 s

# The last character of the salt has 4 spare bits; bcrypt.checkpw raises "Invalid salt" unless they are 0.
_HASH = re.compile(r"\$2[abxy]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")

_UNSUPPORTED = {
    "rate_limit": "Remove it; limit requests in a reverse proxy.",
    "client_allowed_sans": "Remove it; name a client_ca_file that signs only the clients you allow.",
    "curve_preferences": "Remove it; OpenSSL's own choice is used.",
}
_TLS, _USERS = "tls_server_config", "basic_auth_users"
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {  # the other policies ask for certificates that are not verified, which Python cannot do
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_CIPHERS = {  # Go's names -> OpenSSL's
    f"TLS_ECDHE_{auth}_WITH_{go}": f"ECDHE-{auth}-{openssl}"
    for auth in ("ECDSA", "RSA")
    for go, openssl in (
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
        ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
    )
}
_TLS13_CIPHERS = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")


def _shown(text: str) -> str:
    """Return text of the file for a message: no line breaks, no secret."""
    return "…" if is_secret(text) else repr(text)[1:-1]


def _printed(key: str) -> str:
    return _shown(key.partition(":")[0])  # `{alice:secret}`, without a blank, is one key


def _suites(names: list[str | None]) -> list[str | None]:
    unknown = [_shown(name or "") for name in names if name not in (*_CIPHERS, *_TLS13_CIPHERS)]
    if unknown:
        remedy = f"Choose from {', '.join(_CIPHERS)}, or remove the list."
        raise refused("cipher", f"Unknown or insecure: {', '.join(unknown)}.", remedy)
    return names


def _header(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise refused("header-value", "This is not one line of ASCII.", "Write printable ASCII.")
    return value


def _one_of(*allowed: str, slug: str = "header-value", reason: str = "is not allowed") -> AfterValidator:
    def check(value: str) -> str:
        if value and value not in allowed:
            raise refused(slug, f"'{_shown(value)}' {reason}.", f"Write {' or '.join(allowed)}.")
        return value

    return AfterValidator(check)


_Version = Annotated[
    str, _one_of(*_VERSIONS, slug="tls-version", reason="is not supported; older TLS is broken (RFC 8996)")
]
_Policy = Annotated[str, _one_of(*_CLIENT_AUTH, slug="client-auth", reason="is not supported")]
_Header = Annotated[str, AfterValidator(_header)]


class _Section(Shape):
    """A mapping; each key may be left out or have no value."""

    HAS_LOOSE_KEYS = True

    @classmethod
    def unknown_key(cls, key: str) -> tuple[str, str, str]:
        """Return finding, remedy and slug; some keys of the exporter-toolkit are not supported."""
        if key in _UNSUPPORTED:
            return "Not supported here.", _UNSUPPORTED[key], "unsupported-key"
        return super().unknown_key(key)

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, values: object) -> object:
        if isinstance(values, dict):
            return {key: value for key, value in values.items() if value is not None or key not in cls.fields()}
        return values


class _Tls(_Section):  # an empty text counts as absent
    cert: str = ""
    cert_file: str = ""
    key: str = ""
    key_file: str = ""
    client_auth_type: _Policy = ""
    client_ca: str = ""
    client_ca_file: str = ""
    min_version: _Version = ""
    max_version: _Version = ""
    cipher_suites: Annotated[list[str | None], AfterValidator(_suites)] = Field(default=[])
    prefer_server_cipher_suites: bool = True


class _Headers(_Section):
    csp: _Header = Field("", alias="Content-Security-Policy")
    hsts: _Header = Field("", alias="Strict-Transport-Security")
    content_type: Annotated[str, _one_of("nosniff")] = Field("", alias="X-Content-Type-Options")
    frame: Annotated[str, _one_of("deny", "sameorigin")] = Field("", alias="X-Frame-Options")
    xss: _Header = Field("", alias="X-XSS-Protection")

    @classmethod
    def unknown_key(cls, key: str) -> tuple[str, str, str]:
        """Return finding and remedy of any key, and the slug of a header."""
        return *super().unknown_key(key)[:2], "header-name"


class _Http(_Section):
    http2: bool = True  # has no effect: clients fall back to HTTP/1.1
    headers: _Headers = _Headers.model_validate({})


class _Settings(_Section):
    tls_server_config: _Tls = _Tls()
    http_server_config: _Http = _Http()
    basic_auth_users: dict[str, str | None] = Field(default={})


def load(path: str) -> WebConfig:
    """Read a web configuration file.

    An empty file is valid: plain HTTP, no users. Paths in the file are relative to its folder.

    Raises:
        ConfigurationError: The file, or a file that it names, cannot be used. Several problems are one error with the
            slug `web-config-invalid`, one a line, each with its own slug.
    """
    document = Document(path, read(Path(path), f"{path}:1", _SLUG), _SLUG, _printed)
    if document.values is None:
        return WebConfig()
    settings, left_out = validated(document, _Settings, {}, "Write a mapping.")
    users = {name: hashed or "" for name, hashed in settings.basic_auth_users.items()}
    for name, hashed in users.items():
        _check_user(document, name, hashed)
    refused_keys = {key for key in _Tls.fields() if any(place[:2] == (_TLS, key) for place in left_out)}
    context = _TlsReader(document, settings.tls_server_config, refused_keys, Path(path).parent).context()
    if len(document.problems) > 1:
        lines = "".join(f"\n  {problem}" for problem in document.problems)
        found = f"{len(document.problems)} problems:{lines}\n"
        raise ConfigurationError(path, found, "Correct each of them.", slug="web-config-invalid")
    document.raise_problems()
    headers = settings.http_server_config.headers.model_dump(by_alias=True, exclude_defaults=True)
    return WebConfig(context, MappingProxyType(headers), MappingProxyType(users))


def _check_user(document: Document, name: str, hashed: str) -> None:
    place, match = (_USERS, name), _HASH.fullmatch(hashed)
    if ":" in name:
        remedy = "Basic auth ends the name at a colon: write `name: hash`, with a blank."
        document.refuse(place, "There is a colon in the name.", remedy, "user-name")
    elif not match:
        remedy = "Make one with `htpasswd -nBC 10 NAME` and quote it."
        document.refuse(place, "This is not a bcrypt hash (not shown).", remedy, "hash")
    elif int(match[1]) > _MAX_COST:
        remedy = f"Make one of cost 10; above cost {_MAX_COST} a check is too slow for a scrape."
        document.refuse(place, f"The hash has cost {match[1]}.", remedy, "hash-cost")


@dataclass(frozen=True)
class _TlsReader:
    """Makes a context of the TLS settings of a file, and refuses settings that contradict each other."""

    document: Document
    settings: _Tls
    refused_keys: set[str]  # already reported
    folder: Path

    def context(self) -> ssl.SSLContext | None:
        """Return the context; None without TLS settings."""
        given = self.settings.model_dump(exclude_unset=True)
        if all(value == "" for value in given.values()) and not self.refused_keys:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        low, high = _VERSIONS[self.settings.min_version or "TLS12"], _VERSIONS[self.settings.max_version or "TLS13"]
        if low > high:
            self._refuse("min_version", "min_version is above max_version.", "Swap them or remove one.", "tls-range")
        else:
            context.minimum_version, context.maximum_version = low, high
        self._set_ciphers(context)
        self._load_certificates(context)
        self._set_client_auth(context)
        return context

    def _refuse(self, key: str, found: str, remedy: str, slug: str) -> None:
        self.document.refuse((_TLS, key), found, remedy, slug)

    def _set_ciphers(self, context: ssl.SSLContext) -> None:
        if not self.settings.prefer_server_cipher_suites:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE  # Python sets it; true is the format's default too
        mapped = [_CIPHERS[name] for name in self.settings.cipher_suites if name in _CIPHERS]
        if mapped:
            try:
                context.set_ciphers(":".join(mapped))
            except ssl.SSLError:
                self._refuse("cipher_suites", "This OpenSSL has none of them.", "Remove the list.", "cipher")
        elif self.settings.cipher_suites and self.settings.min_version != "TLS13":
            remedy = "Write `min_version: TLS13`, or add a suite of TLS 1.2."
            self._refuse("cipher_suites", "TLS 1.2 has no cipher in this list.", remedy, "cipher")

    def _load_certificates(self, context: ssl.SSLContext) -> None:
        with tempfile.TemporaryDirectory(prefix="locust-otel-") as scratch:
            cert, key, ca = (self._pem(name, Path(scratch)) for name in ("cert", "key", "client_ca"))
            name = "cert"
            try:
                if cert and key:
                    context.load_cert_chain(cert, key, password="")  # "": never asks the terminal for one
                name = "client_ca"
                if ca:
                    context.load_verify_locations(ca)
            except ssl.SSLError as error:
                # The second reason: an RSA key and an EC certificate.
                if error.reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
                    found, remedy, slug = "The key is of another certificate.", "Name the right key.", "key-mismatch"
                else:
                    found = f"OpenSSL cannot use it ({error.reason or 'PEM'})."
                    remedy, slug = "Try `openssl x509 -in FILE` and `openssl pkey -in FILE`.", "pem-invalid"
                self._refuse(self._key(name), found, remedy, slug)

    def _key(self, name: str) -> str:
        """Return the key of a PEM setting: `cert_file` or `cert`."""
        return f"{name}_file" if getattr(self.settings, f"{name}_file") else name

    def _pem(self, name: str, scratch: Path) -> Path | None:
        """Return the file of a PEM setting, which is a path or inline text; None if it is not set, or refused."""
        inline, file, key = getattr(self.settings, name), getattr(self.settings, f"{name}_file"), self._key(name)
        if inline and file:
            self._refuse(key, f"{name} is set too.", f"Keep {name} or {name}_file.", "pem-twice")
        elif not inline and not file and name != "client_ca" and self.refused_keys.isdisjoint({name, f"{name}_file"}):
            remedy = f"Add {name}_file, or {name} inline."
            self.document.refuse((_TLS,), f"There is no {name}.", remedy, "pem-missing")
        if bool(inline) == bool(file):
            return None
        path = self.folder / file if file else scratch / name
        if inline:  # OpenSSL reads files only; the folder `scratch` has mode 0700
            path.write_bytes(inline.encode(errors="replace"))
        try:
            data = read(path, self.document.where((_TLS, key)), _SLUG)
        except ConfigurationError as problem:
            self.document.problems.append(problem)
            return None
        label = "PRIVATE KEY" if name == "key" else "CERTIFICATE"
        if name == "key" and b"ENCRYPTED" in data:
            self._refuse(key, "The key is encrypted.", "Store it without a passphrase.", "key-encrypted")
        elif f"{label}-----".encode() not in data:
            self._refuse(key, f"There is no PEM {label} in it.", "Name a PEM file.", "pem-invalid")
        else:
            return path
        return None

    def _set_client_auth(self, context: ssl.SSLContext) -> None:
        if "client_auth_type" in self.refused_keys:
            return
        policy = self.settings.client_auth_type or "NoClientCert"
        has_ca = bool(self.settings.client_ca or self.settings.client_ca_file)
        if policy == "NoClientCert" and has_ca:
            remedy = "Add `client_auth_type: RequireAndVerifyClientCert`, or remove the CA."
            found = "A client CA has no effect without client_auth_type."
            self.document.refuse((_TLS,), found, remedy, "client-ca-unused")
        elif policy != "NoClientCert" and not has_ca:
            remedy = "Add client_ca_file."
            self._refuse("client_auth_type", "There is no CA to verify clients with.", remedy, "client-ca-missing")
        else:
            context.verify_mode = _CLIENT_AUTH[policy]
