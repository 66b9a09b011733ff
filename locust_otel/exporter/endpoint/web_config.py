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
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from locust_otel.core import documents
from locust_otel.core.errors import ConfigurationError
from locust_otel.exporter.endpoint.access import WebConfig

_SLUG = "web-config"
_MAX_COST = 16  # about 4 s a check; the first scrapes run into Prometheus' timeout of 10 s soon above it

# The last character of the salt has 4 spare bits; bcrypt.checkpw raises "Invalid salt" unless they are 0.
_HASH = re.compile(r"\$2[abxy]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")

_HEADERS: Mapping[str, tuple[str, ...]] = {  # name -> values allowed, () for any
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
_TLS, _USERS = "tls_server_config", "basic_auth_users"
_TLS_TEXTS = "cert cert_file key key_file client_auth_type client_ca client_ca_file min_version max_version"
_SCHEMA: Mapping[str, Any] = {
    _TLS: dict.fromkeys(_TLS_TEXTS.split(), str) | {"cipher_suites": list, "prefer_server_cipher_suites": bool},
    "http_server_config": {"http2": bool, "headers": dict.fromkeys(_HEADERS, str)},
    _USERS: {},  # any name
}
_UNSUPPORTED = {
    "rate_limit": "Remove it; limit requests in a reverse proxy.",
    "client_allowed_sans": "Remove it; name a client_ca_file that signs only the clients you allow.",
    "curve_preferences": "Remove it; OpenSSL's own choice is used.",
}
_KINDS: Mapping[type, tuple[type, str]] = {
    dict: (yaml.MappingNode, "a mapping"),
    list: (yaml.SequenceNode, "a list"),
    str: (yaml.ScalarNode, "a text"),
    bool: (yaml.ScalarNode, "true or false"),
}
_VERSIONS = {"TLS12": "TLSv1_2", "TLS13": "TLSv1_3"}
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
_CLIENT_AUTH = {
    "NoClientCert": "CERT_NONE",
    "VerifyClientCertIfGiven": "CERT_OPTIONAL",
    "RequireAndVerifyClientCert": "CERT_REQUIRED",
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


def load(path: str) -> WebConfig:
    """Read a web configuration file.

    An empty file is valid: plain HTTP, no users. Paths in the file are relative to the file's folder.

    Raises:
        ConfigurationError: The file or something it names cannot be used. Several problems come as one
            error with the slug `web-config-invalid`, one a line, each with its own slug.
    """
    document = _Document(path)
    top = document.value(document.root(), _SCHEMA, "") or {}
    http = top.get("http_server_config") or {}  # http2 changes nothing: clients fall back to our HTTP/1.1
    headers = {name: value for name, value in (http.get("headers") or {}).items() if value}
    users = top.get(_USERS) or {}
    _check_headers(document, headers)
    _check_users(document, users)
    context = _ssl_context(document, top.get(_TLS) or {})
    document.raise_problems()
    return WebConfig(context, MappingProxyType(headers), MappingProxyType(users))


def _shown(text: str) -> str:
    """Make text of the file fit for a message: not long, no line breaks, no secret in the wrong place."""
    return repr(text)[1:-1] if len(text) <= 200 and "$2" not in text and "-----" not in text else "…"


class _Document:
    """The file's values, the line of each key path, and the problems found so far."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines = {"": 1}
        self.problems: list[ConfigurationError] = []

    def refuse(self, at: str, found: str, remedy: str, slug: str, *, mark: Any = None) -> None:
        where = f"{self.path}:{mark.line + 1 if mark else self.lines[at]}" + (f": {at}" if at else "")
        self.problems.append(ConfigurationError(where, found, remedy, slug=f"{_SLUG}-{slug}"))

    def raise_problems(self) -> None:
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            lines = "".join(f"\n  {problem}" for problem in self.problems)
            found = f"{len(self.problems)} problems:{lines}\n"
            raise ConfigurationError(self.path, found, "Correct each of them.", slug="web-config-invalid")

    def read(self, path: Path, at: str) -> bytes | None:
        try:
            return documents.read(path, f"{self.path}:{self.lines[at]}" + (f": {at}" if at else ""), _SLUG)
        except ConfigurationError as problem:
            self.problems.append(problem)
            return None

    def root(self) -> yaml.Node | None:
        """Compose the file into nodes, None for an empty one; raise if it cannot be."""
        data = self.read(Path(self.path), "") or b""
        self.raise_problems()
        return documents.compose(data, self.path, _SLUG)

    def value(self, node: yaml.Node | None, schema: Any, path: str) -> Any:
        """Return what a node holds, checked against a schema; a null text is "", what is refused is None."""
        if node is None or node.tag == "tag:yaml.org,2002:null":
            return "" if schema is str else None
        kind, wanted = _KINDS[dict if isinstance(schema, Mapping) else schema]
        words = yaml.SafeLoader.bool_values
        if not isinstance(node, kind) or (schema is bool and node.value.lower() not in words):
            self.refuse(path, f"This is not {wanted}.", f"Write {wanted}.", "type")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, schema, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, str, path) for item in node.value]
        return words[node.value.lower()] if schema is bool else node.value

    def _mapping(self, node: yaml.MappingNode, schema: Mapping[str, Any], path: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, item in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            # `{alice:secret}`, without a blank, is one key: show the part before the colon.
            at = f"{path}.{_shown(name.partition(':')[0])}".removeprefix(".")
            self.lines[at] = key.start_mark.line + 1 if key.start_mark else 1
            if name in values:
                self.refuse(at, "This key is there twice.", "Keep one of them.", "duplicate-key")
            elif not schema or name in schema:
                values[name] = self.value(item, schema.get(name, str), at)
            elif name in _UNSUPPORTED:
                self.refuse(at, "Not supported here.", _UNSUPPORTED[name], "unsupported-key")
            else:
                slug = "header-name" if path.endswith(".headers") else "unknown-key"
                self.refuse(at, "Unknown key.", f"Write one of {', '.join(schema)}.", slug)
        return values

    def pem(self, tls: Mapping[str, Any], name: str, scratch: Path) -> Path | None:
        """Return the file with a PEM setting, which is inline or a file; None: not set, or refused."""
        inline, file = tls.get(name, ""), tls.get(f"{name}_file", "")
        at = f"{_TLS}.{name}_file" if file else f"{_TLS}.{name}"
        if inline and file:
            self.refuse(at, f"{name} is set too.", f"Keep {name} or {name}_file.", "pem-twice")
        elif not inline and not file and None not in (inline, file) and name != "client_ca":
            self.refuse(_TLS, f"There is no {name}.", f"Add {name}_file, or {name} inline.", "pem-missing")
        if bool(inline) == bool(file):
            return None
        path = Path(self.path).parent / file if file else scratch / name
        if inline:  # OpenSSL reads files only; the folder `scratch` has mode 0700
            path.write_bytes(inline.encode(errors="replace"))
        data = self.read(path, at)
        label = "PRIVATE KEY" if name == "key" else "CERTIFICATE"
        if data is None:
            return None
        if name == "key" and b"ENCRYPTED" in data:
            self.refuse(at, "The key is encrypted.", "Store it without a passphrase.", "key-encrypted")
        elif f"{label}-----".encode() not in data:
            self.refuse(at, f"There is no PEM {label} in it.", "Name a PEM file.", "pem-invalid")
        else:
            return path
        return None


def _check_headers(document: _Document, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        at, allowed = f"http_server_config.headers.{name}", _HEADERS[name]
        if allowed and value not in allowed:
            remedy = f"Write {' or '.join(allowed)}."
            document.refuse(at, f"'{_shown(value)}' is not allowed.", remedy, "header-value")
        elif not (value.isascii() and value.isprintable()):
            document.refuse(at, "Not one line of ASCII.", "Write printable ASCII.", "header-value")


def _check_users(document: _Document, users: Mapping[str, str | None]) -> None:
    for name, hashed in users.items():
        at = f"{_USERS}.{_shown(name.partition(':')[0])}"
        match = _HASH.fullmatch(hashed) if hashed is not None else None
        if ":" in name:
            remedy = "Basic auth ends the name at a colon: write `name: hash`, with a blank."
            document.refuse(at, "There is a colon in the name.", remedy, "user-name")
        elif hashed is not None and not match:
            remedy = "Make one with `htpasswd -nBC 10 NAME` and quote it."
            document.refuse(at, "This is not a bcrypt hash (not shown).", remedy, "hash")
        elif match and int(match[1]) > _MAX_COST:
            remedy = f"Make one of cost 10; up to {_MAX_COST} is checked within a scrape's timeout."
            document.refuse(at, f"The hash has cost {match[1]}.", remedy, "hash-cost")


def _ssl_context(document: _Document, tls: Mapping[str, Any]) -> ssl.SSLContext | None:
    if all(value in ("", None) for value in tls.values()):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_versions(document, tls, context)
    _set_ciphers(document, tls, context)
    with tempfile.TemporaryDirectory(prefix="locust-otel-") as scratch:
        cert, key, ca = (document.pem(tls, name, Path(scratch)) for name in ("cert", "key", "client_ca"))
        at = "cert"
        try:
            if cert and key:
                context.load_cert_chain(cert, key, password="")  # "": never asks the terminal for one
            at = "client_ca"
            if ca:
                context.load_verify_locations(ca)
        except ssl.SSLError as error:
            at = f"{_TLS}.{at}_file" if tls.get(f"{at}_file") else f"{_TLS}.{at}"
            if error.reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):  # latter: RSA key, EC certificate
                document.refuse(at, "The key is not this certificate's.", "Name its own key.", "key-mismatch")
            else:
                remedy = "Try `openssl x509 -in FILE` and `openssl pkey -in FILE`."
                document.refuse(at, f"OpenSSL cannot use it ({error.reason or 'PEM'}).", remedy, "pem-invalid")
    _set_client_auth(document, tls, context)
    return context


def _set_versions(document: _Document, tls: Mapping[str, Any], context: ssl.SSLContext) -> None:
    versions = {"min_version": ssl.TLSVersion.TLSv1_2, "max_version": ssl.TLSVersion.TLSv1_3}
    for name in versions:
        text = tls.get(name)
        if text in _VERSIONS:
            versions[name] = ssl.TLSVersion[_VERSIONS[text]]
        elif text:
            found = f"'{_shown(text)}' is not TLS12 or TLS13; older ones are broken (RFC 8996)."
            document.refuse(f"{_TLS}.{name}", found, "Write TLS12 or TLS13.", "tls-version")
    low, high = versions.values()
    if low > high:
        found = "min_version is above max_version."
        document.refuse(f"{_TLS}.min_version", found, "Swap them or remove one.", "tls-range")
        return
    context.minimum_version, context.maximum_version = low, high


def _set_ciphers(document: _Document, tls: Mapping[str, Any], context: ssl.SSLContext) -> None:
    if tls.get("prefer_server_cipher_suites") is False:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE  # Python sets it; true is the format's default too
    at, wanted = f"{_TLS}.cipher_suites", tls.get("cipher_suites") or []
    unknown = [name for name in wanted if name not in (*_CIPHERS, *_TLS13_CIPHERS)]
    mapped = [_CIPHERS[name] for name in wanted if name in _CIPHERS]
    if unknown:
        found = f"Unknown or insecure: {', '.join(_shown(name or '') for name in unknown)}."
        document.refuse(at, found, f"Choose from {', '.join(_CIPHERS)}, or remove the list.", "cipher")
    elif mapped:
        try:
            context.set_ciphers(":".join(mapped))
        except ssl.SSLError:
            document.refuse(at, "This OpenSSL has none of them.", "Remove the list.", "cipher")
    elif wanted and tls.get("min_version") != "TLS13":
        remedy = "Write `min_version: TLS13`, or add a suite of TLS 1.2."
        document.refuse(at, "It leaves TLS 1.2 without a cipher.", remedy, "cipher")


def _set_client_auth(document: _Document, tls: Mapping[str, Any], context: ssl.SSLContext) -> None:
    policy = tls.get("client_auth_type", "") or "NoClientCert"
    has_ca, at = bool(tls.get("client_ca") or tls.get("client_ca_file")), f"{_TLS}.client_auth_type"
    if policy not in _CLIENT_AUTH:
        reason = "cannot be done: Python verifies each certificate it asks for"
        found = f"'{_shown(policy)}' {reason if policy in _UNVERIFIED else 'is not a policy'}."
        remedy = f"Write {', '.join(_CLIENT_AUTH)}; RequireAndVerifyClientCert is the secure one."
        document.refuse(at, found, remedy, "client-auth")
    elif policy == "NoClientCert" and has_ca:
        remedy = "Add `client_auth_type: RequireAndVerifyClientCert`, or remove the CA."
        document.refuse(_TLS, "A client CA without client_auth_type protects nothing.", remedy, "client-ca-unused")
    elif policy != "NoClientCert" and not has_ca:
        document.refuse(at, "There is no CA to verify clients with.", "Add client_ca_file.", "client-ca-missing")
    else:
        context.verify_mode = ssl.VerifyMode[_CLIENT_AUTH[policy]]
