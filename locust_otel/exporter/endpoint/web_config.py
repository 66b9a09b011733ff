"""TLS, response headers and basic auth of `/metrics`, from a file Prometheus users already know.

The format is the exporter-toolkit's:
https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md

Rules:

- A setting that cannot be honoured is refused: an endpoint less protected than its file says is worse than
  a run that does not start.
- All problems of a file are reported at once, and none of them prints a hash, a key or a password.
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

from locust_otel.core.documents import Document, Place, is_secret, read
from locust_otel.core.errors import ConfigurationError
from locust_otel.core.shape import Shape, refused, validated
from locust_otel.exporter.endpoint.access import WebConfig

_SLUG = "web-config"
_MAX_COST = 16  # about 4 s a check; the first scrapes run into Prometheus' timeout of 10 s soon above it

# The last character of the salt has 4 spare bits; bcrypt.checkpw raises "Invalid salt" unless they are 0.
_HASH = re.compile(r"\$2[abxy]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")

_UNSUPPORTED = {
    "rate_limit": "Remove it; limit requests in a reverse proxy.",
    "client_allowed_sans": "Remove it; name a client_ca_file that signs only the clients you allow.",
    "curve_preferences": "Remove it; OpenSSL's own choice is used.",
}
_TLS, _USERS = "tls_server_config", "basic_auth_users"
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
_CLIENT_AUTH = {
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
    """Make text of the file fit for a message: not long, no line breaks, no secret in the wrong place."""
    return "…" if is_secret(text) else repr(text)[1:-1]


def _printed(key: str) -> str:
    return _shown(key.partition(":")[0])  # `{alice:secret}`, without a blank, is one key


def _policy(text: str) -> str:
    if text and text not in _CLIENT_AUTH:
        reason = "cannot be done: Python verifies each certificate it asks for"
        found = f"'{_shown(text)}' {reason if text in _UNVERIFIED else 'is not a policy'}."
        remedy = f"Write {', '.join(_CLIENT_AUTH)}; RequireAndVerifyClientCert is the secure one."
        raise refused("client-auth", found, remedy)
    return text


def _suites(names: list[str | None]) -> list[str | None]:
    unknown = [_shown(name or "") for name in names if name not in (*_CIPHERS, *_TLS13_CIPHERS)]
    if unknown:
        remedy = f"Choose from {', '.join(_CIPHERS)}, or remove the list."
        raise refused("cipher", f"Unknown or insecure: {', '.join(unknown)}.", remedy)
    return names


def _header(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise refused("header-value", "Not one line of ASCII.", "Write printable ASCII.")
    return value


def _one_of(*allowed: str, slug: str = "header-value", reason: str = "is not allowed") -> AfterValidator:
    def check(value: str) -> str:
        if value and value not in allowed:
            raise refused(slug, f"'{_shown(value)}' {reason}.", f"Write {' or '.join(allowed)}.")
        return value

    return AfterValidator(check)


_Version = Annotated[
    str, _one_of(*_VERSIONS, slug="tls-version", reason="is not TLS12 or TLS13; older ones are broken (RFC 8996)")
]
_Header = Annotated[str, AfterValidator(_header)]


class _Section(Shape):
    """A mapping of which each key may be left out, or have nothing behind it."""

    HAS_LOOSE_KEYS = True

    @classmethod
    def unknown_key(cls, key: str) -> tuple[str, str, str]:
        """Return finding, remedy and slug; the exporter-toolkit has more keys than can be honoured."""
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
    client_auth_type: Annotated[str, AfterValidator(_policy)] = ""
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
        """Return finding, remedy and a slug of its own."""
        return *super().unknown_key(key)[:2], "header-name"


class _Http(_Section):
    http2: bool = True  # changes nothing: clients fall back to our HTTP/1.1
    headers: _Headers = _Headers.model_validate({})


class _Settings(_Section):
    tls_server_config: _Tls = _Tls()
    http_server_config: _Http = _Http()
    basic_auth_users: dict[str, str | None] = Field(default={})


def load(path: str) -> WebConfig:
    """Read a web configuration file.

    An empty file is valid: plain HTTP, no users. Paths in the file are relative to the file's folder.

    Raises:
        ConfigurationError: The file or something it names cannot be used. Several problems come as one
            error with the slug `web-config-invalid`, one a line, each with its own slug.
    """
    document = Document(path, read(Path(path), f"{path}:1", _SLUG), _SLUG, _printed)
    if document.values is None:
        return WebConfig()
    settings, left_out = validated(document, _Settings, {}, "Write a mapping.")
    users = {name: hashed or "" for name, hashed in settings.basic_auth_users.items()}
    for name, hashed in users.items():
        _check_user(document, name, hashed)
    context = _TlsReader(document, settings.tls_server_config, left_out, Path(path).parent).context()
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
        remedy = f"Make one of cost 10; up to {_MAX_COST} is checked within a scrape's timeout."
        document.refuse(place, f"The hash has cost {match[1]}.", remedy, "hash-cost")


@dataclass(frozen=True)
class _TlsReader:
    """From the TLS settings of a file to a context, with the problems between several settings."""

    document: Document
    settings: _Tls
    left_out: set[Place]
    folder: Path

    def context(self) -> ssl.SSLContext | None:
        """Return the context; None without TLS settings."""
        given = self.settings.model_dump(exclude_unset=True)
        if all(value == "" for value in given.values()) and not self._is_left_out(*_Tls.fields()):
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

    def _is_left_out(self, *keys: str) -> bool:
        return any(place[:2] == (_TLS, key) for place in self.left_out for key in keys)

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
            self._refuse("cipher_suites", "It leaves TLS 1.2 without a cipher.", remedy, "cipher")

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
                # The latter: RSA key, EC certificate.
                if error.reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
                    found, remedy, slug = "The key is not this certificate's.", "Name its own key.", "key-mismatch"
                else:
                    found = f"OpenSSL cannot use it ({error.reason or 'PEM'})."
                    remedy, slug = "Try `openssl x509 -in FILE` and `openssl pkey -in FILE`.", "pem-invalid"
                self._refuse(self._key(name), found, remedy, slug)

    def _key(self, name: str) -> str:
        """Return the key that has a PEM setting: `cert_file` or `cert`."""
        return f"{name}_file" if getattr(self.settings, f"{name}_file") else name

    def _pem(self, name: str, scratch: Path) -> Path | None:
        """Return the file with a PEM setting, which is inline or a file; None: not set, or refused."""
        inline, file, key = getattr(self.settings, name), getattr(self.settings, f"{name}_file"), self._key(name)
        if inline and file:
            self._refuse(key, f"{name} is set too.", f"Keep {name} or {name}_file.", "pem-twice")
        elif not inline and not file and name != "client_ca" and not self._is_left_out(name, f"{name}_file"):
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
        if self._is_left_out("client_auth_type"):
            return
        policy = self.settings.client_auth_type or "NoClientCert"
        has_ca = bool(self.settings.client_ca or self.settings.client_ca_file)
        if policy == "NoClientCert" and has_ca:
            remedy = "Add `client_auth_type: RequireAndVerifyClientCert`, or remove the CA."
            found = "A client CA without client_auth_type protects nothing."
            self.document.refuse((_TLS,), found, remedy, "client-ca-unused")
        elif policy != "NoClientCert" and not has_ca:
            remedy = "Add client_ca_file."
            self._refuse("client_auth_type", "There is no CA to verify clients with.", remedy, "client-ca-missing")
        else:
            context.verify_mode = _CLIENT_AUTH[policy]
