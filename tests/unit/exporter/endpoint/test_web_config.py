"""Tests of the web configuration file: its settings, and the files that are refused."""

from __future__ import annotations

import asyncio
import json
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import bcrypt
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from locust_otel.core.errors import ConfigurationError
from locust_otel.exporter.endpoint import web_config
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.web_config import load

HASH = bcrypt.hashpw(b"secret", b"$2b$04$abcdefghijklmnopqrstuu").decode()  # fixed, since test names have it
CA = trustme.CA()
SERVER = CA.issue_cert("127.0.0.1", "localhost")
CERT = b"".join(pem.bytes() for pem in SERVER.cert_chain_pems)
KEY = SERVER.private_key_pem.bytes()
TLS = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a web configuration beside a certificate, a key and a CA; return its path."""
    (tmp_path / "cert.pem").write_bytes(CERT)
    (tmp_path / "key.pem").write_bytes(KEY)
    (tmp_path / "ca.pem").write_bytes(CA.cert_pem.bytes())

    def _write(text: str) -> str:
        path = tmp_path / "web.yml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return _write


def refusal(path: str) -> ConfigurationError:
    """Return the error of loading a file."""
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    return caught.value


def context_of(config: WebConfig) -> ssl.SSLContext:
    """Return the TLS context."""
    assert config.ssl_context is not None
    return config.ssl_context


# Settings


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "{}", "tls_server_config:\nbasic_auth_users: {}\nhttp_server_config:\n"]
)
def test_empty(write: Write, text: str) -> None:
    """An empty file means plain HTTP without headers and users, and any client may read."""
    config = load(write(text))
    assert (config.ssl_context, dict(config.headers), dict(config.users)) == (None, {}, {})
    assert asyncio.run(config.authenticate(None))
    assert asyncio.run(config.authenticate("Basic nonsense"))


def test_blank_tls_is_no_tls(write: Write) -> None:
    """Blank TLS settings count as absent, as in the exporter-toolkit."""
    assert load(write('tls_server_config: {cert_file: "", key_file: }')).ssl_context is None


def test_paths_are_relative_to_the_file(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Certificates are found beside the file, in any working directory."""
    (tmp_path / "elsewhere").mkdir()
    path = write(TLS)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert isinstance(load(path).ssl_context, ssl.SSLContext)
    monkeypatch.chdir(tmp_path)
    assert isinstance(load("web.yml").ssl_context, ssl.SSLContext)


def test_tls_defaults(write: Write) -> None:
    """Without more settings: TLS 1.2 to 1.3, the server's cipher order, no client certificate."""
    context = context_of(load(write(TLS)))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.maximum_version == ssl.TLSVersion.TLSv1_3
    assert context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert context.verify_mode == ssl.CERT_NONE


def test_tls_settings(write: Write) -> None:
    """Versions, ciphers under Go's names, cipher order and client policy reach the context."""
    suites = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_AES_128_GCM_SHA256"
    settings = f"""\
  max_version: TLS12
  cipher_suites: [{suites}]
  prefer_server_cipher_suites: false
  client_auth_type: VerifyClientCertIfGiven
  client_ca_file: ca.pem
"""
    context = context_of(load(write(TLS + settings)))
    assert context.maximum_version == ssl.TLSVersion.TLSv1_2
    names = [cipher["name"] for cipher in context.get_ciphers() if not cipher["name"].startswith("TLS_")]
    assert names == ["ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-SHA"]
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert context.verify_mode == ssl.CERT_OPTIONAL
    assert len(context.get_ca_certs()) == 1


def test_inline_pems(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PEMs may be in the file itself; no copy of them is left on disk."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pems = {"cert": CERT, "key": KEY, "client_ca": CA.cert_pem.bytes()}
    inline = "".join(f"  {name}: {json.dumps(pem.decode())}\n" for name, pem in pems.items())
    path = write(f"tls_server_config:\n  client_auth_type: RequireAndVerifyClientCert\n{inline}")
    before = sorted(tmp_path.iterdir())
    context = context_of(load(path))
    assert (context.verify_mode, len(context.get_ca_certs())) == (ssl.CERT_REQUIRED, 1)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", list(web_config._CIPHERS))
def test_every_cipher_exists(write: Write, name: str) -> None:
    """OpenSSL knows each cipher under the translated name."""
    context = context_of(load(write(f"{TLS}  cipher_suites: [{name}]\n")))
    assert web_config._CIPHERS[name] in [cipher["name"] for cipher in context.get_ciphers()]


def test_only_tls13_ciphers(write: Write) -> None:
    """A list of TLS 1.3 suites is valid without TLS 1.2; these suites cannot be chosen, as in Go."""
    settings = "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n  min_version: TLS13\n"
    assert context_of(load(write(TLS + settings))).minimum_version == ssl.TLSVersion.TLSv1_3


def test_headers(write: Write) -> None:
    """Headers are unchanged, an unquoted number too, and blank ones are left out."""
    headers = "{X-XSS-Protection: 0, X-Frame-Options: deny, Content-Security-Policy: }"
    config = load(write(f"http_server_config:\n  http2: true\n  headers: {headers}\n"))
    assert dict(config.headers) == {"X-XSS-Protection": "0", "X-Frame-Options": "deny"}


def test_repr_hides_hashes(write: Write) -> None:
    """A logged configuration shows no hash."""
    config = load(write(f"basic_auth_users:\n  prometheus: {HASH}\n"))
    assert dict(config.users) == {"prometheus": HASH}
    assert repr(config) == "WebConfig(ssl_context=None, headers=mappingproxy({}))"


# Refusals

ROOT_REFUSALS = [
    ("a: [", "syntax", 1),
    ("\na: *x", "not-plain", 2),
    ("[]", "type", 1),
    ("#" * (1 << 20) + "#", "too-large", 1),
]

PAIR = "cert_file: cert.pem, key_file: key.pem"
TLS_REFUSALS = [
    ("crt: x", ".crt", "unknown-key"),
    (f"{PAIR}, client_allowed_sans: [a]", ".client_allowed_sans", "unsupported-key"),
    (f"{PAIR}, curve_preferences: [X25519]", ".curve_preferences", "unsupported-key"),
    (f"{PAIR}, cipher_suites: x", ".cipher_suites", "type"),
    ("cert_file: [a], key_file: key.pem", ".cert_file", "type"),
    ("cert_file: cert.pem", "", "pem-missing"),
    ("key_file: key.pem", "", "pem-missing"),
    (f"{PAIR}, cert: x", ".cert_file", "pem-twice"),
    ("cert_file: no.pem, key_file: key.pem", ".cert_file", "unreadable"),
    ("cert_file: /dev/zero, key_file: key.pem", ".cert_file", "too-large"),
    ("cert_file: key.pem, key_file: key.pem", ".cert_file", "pem-invalid"),
    ("cert_file: cert.pem, key: secret", ".key", "pem-invalid"),
    ("cert_file: bad.pem, key_file: key.pem", ".cert_file", "pem-invalid"),
    ("cert_file: cert.pem, key_file: locked.pem", ".key_file", "key-encrypted"),
    ("cert_file: cert.pem, key_file: other.pem", ".cert_file", "key-mismatch"),
    ("cert_file: cert.pem, key_file: rsa.pem", ".cert_file", "key-mismatch"),
    (f"{PAIR}, min_version: TLS10", ".min_version", "tls-version"),
    (f"{PAIR}, max_version: TLS11", ".max_version", "tls-version"),
    (f"{PAIR}, min_version: TLS13, max_version: TLS12", ".min_version", "tls-range"),
    (f"{PAIR}, cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]", ".cipher_suites", "cipher"),
    (f"{PAIR}, cipher_suites: [TLS_AES_128_GCM_SHA256]", ".cipher_suites", "cipher"),
    (f"{PAIR}, client_auth_type: RequestClientCert", ".client_auth_type", "client-auth"),
    (f"{PAIR}, client_auth_type: require", ".client_auth_type", "client-auth"),
    (f"{PAIR}, client_auth_type: RequireAndVerifyClientCert", ".client_auth_type", "client-ca-missing"),
    (f"{PAIR}, client_ca_file: ca.pem", "", "client-ca-unused"),
    (f"{PAIR}, client_auth_type: VerifyClientCertIfGiven, client_ca_file: bad.pem", ".client_ca_file", "pem-invalid"),
]
HEADER_REFUSALS = [
    ("Server: x", "Server", "header-name"),
    ("X-Frame-Options: allow", "X-Frame-Options", "header-value"),
    ('Content-Security-Policy: "a\\r\\nSet-Cookie: b"', "Content-Security-Policy", "header-value"),
]
REFUSALS = [
    ("tls: {}", "tls", "unknown-key"),
    ("http_server_config: {http3: true}", "http_server_config.http3", "unknown-key"),
    ("? [a]\n: 1", "?", "unknown-key"),
    ("rate_limit: {interval: 1s}", "rate_limit", "unsupported-key"),
    ("http_server_config:\nhttp_server_config:", "http_server_config", "duplicate-key"),
    ("tls_server_config: [1]", "tls_server_config", "type"),
    ("http_server_config: {http2: 7}", "http_server_config.http2", "type"),
    ("basic_auth_users: [alice]", "basic_auth_users", "type"),
    ("basic_auth_users: {alice: [x]}", "basic_auth_users.alice", "type"),
    ("basic_auth_users: {alice: secret}", "basic_auth_users.alice", "hash"),
    ("basic_auth_users: {alice: }", "basic_auth_users.alice", "hash"),
    (f"basic_auth_users: {{alice: '{HASH[:-1]}'}}", "basic_auth_users.alice", "hash"),
    (f"basic_auth_users: {{alice: '{HASH[:28]}A{HASH[29:]}'}}", "basic_auth_users.alice", "hash"),
    (f"basic_auth_users: {{alice: '$2b$17{HASH[6:]}'}}", "basic_auth_users.alice", "hash-cost"),
    (f"basic_auth_users: {{'al:ice': '{HASH}'}}", "basic_auth_users.al", "user-name"),
    *((f"tls_server_config: {{{text}}}", f"tls_server_config{key}", slug) for text, key, slug in TLS_REFUSALS),
    *((f"http_server_config: {{headers: {{{text}}}}}", f"http_server_config.headers.{key}", slug)
      for text, key, slug in HEADER_REFUSALS),
]  # fmt: skip


@pytest.mark.parametrize(("text", "slug", "line"), ROOT_REFUSALS)
def test_refuses_the_whole_file(write: Write, text: str, slug: str, line: int) -> None:
    """A file that is not a plain mapping is refused with the line."""
    path = write(text)
    error = refusal(path)
    assert (error.where, error.slug) == (f"{path}:{line}", f"web-config-{slug}")


@pytest.mark.parametrize(("text", "key", "slug"), REFUSALS)
def test_refuses(write: Write, tmp_path: Path, text: str, key: str, slug: str) -> None:
    """Each problem is reported alone, at its key, with a remedy."""
    (tmp_path / "bad.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (tmp_path / "other.pem").write_bytes(CA.issue_cert("a").private_key_pem.bytes())
    rsa = CA.issue_cert("a", key_type=trustme.KeyType.RSA).private_key_pem.bytes() if "rsa.pem" in text else b""
    (tmp_path / "rsa.pem").write_bytes(rsa)
    locked = serialization.load_pem_private_key(KEY, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    (tmp_path / "locked.pem").write_bytes(locked)
    error = refusal(write(text))
    assert error.slug == f"web-config-{slug}", error
    assert error.where.endswith(f": {key}")
    assert error.remedy


def test_refuses_other_files(tmp_path: Path) -> None:
    """A missing file and a file in Latin-1 are refused."""
    path = tmp_path / "web.yml"
    missing = refusal(str(path))
    assert (missing.slug, "No such file" in missing.found) == ("web-config-unreadable", True)
    path.write_bytes("basic_auth_users: {jürgen: x}".encode("latin-1"))
    assert refusal(str(path)).slug == "web-config-syntax"


def test_reports_all_problems_at_once(write: Write) -> None:
    """One error lists every problem of every section on its own line, each at its line of the file."""
    path = write(
        dedent("""\
        tls_server_config:
          cert_file: no.pem
          min_version: TLS10
          client_auth_type: RequestClientCert
        http_server_config:
          headers:
            Server: x
            X-Frame-Options: allow
        basic_auth_users:
          alice: secret
        surplus: 1
        """)
    )
    error = refusal(path)
    assert (error.where, error.slug) == (path, "web-config-invalid")
    assert error.found.startswith("8 problems:\n")
    found = {
        (int(line.split(":")[1]), line.rpartition("(web-config-")[2].rstrip(")"))
        for line in error.found.splitlines()[1:]
    }
    assert found == {
        (1, "pem-missing"),
        (2, "unreadable"),
        (3, "tls-version"),
        (4, "client-auth"),
        (7, "header-name"),
        (8, "header-value"),
        (10, "hash"),
        (11, "unknown-key"),
    }


@pytest.mark.parametrize(
    "text",
    [
        "basic_auth_users: {alice: hunter2-SECRET}",
        "basic_auth_users: {alice:hunter2-SECRET}",
        "basic_auth_users: alice:hunter2-SECRET",
        "basic_auth_users: {alice: *hunter2-SECRET}",
        "basic_auth_users: {alice: !hunter2-SECRET}",
        "basic_auth_users: {alice: %hunter2-SECRET}",
        "basic_auth_users: {alice: 'hunter2-SECRET}",
        "basic_auth_users:\n  '$2y$10$SECRET': alice",
        "basic_auth_users:\n\talice: hunter2-SECRET",
        "'$2y$10$SECRET': alice",
        f"{TLS[:-9]} |\n    -----BEGIN PRIVATE KEY-----\n    SECRET\n    -----END PRIVATE KEY-----\n",
        "tls_server_config:\n  key: hunter2-SECRET\n  cert_file: cert.pem",
    ],
)
def test_shows_no_secret(write: Write, text: str) -> None:
    """The error of a broken file does not show a secret in it."""
    error = refusal(write(text))
    assert "SECRET" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
