"""Tests of the web configuration file: what it turns into, what it refuses, how it is served."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import bcrypt
import pytest
import requests
import trustme
import yaml
from cryptography.hazmat.primitives import serialization

from locust_otel.core.errors import ConfigurationError
from locust_otel.exporter.endpoint import web_config
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.web_config import load
from tests.unit.endpoints import serving
from tests.unit.factories import rich_snapshot

PASSWORD = "correct horse: bättery"
SALT = b"$2b$04$abcdefghijklmnopqrstuu"  # fixed, as hashes are part of test names
HASH = bcrypt.hashpw(PASSWORD.encode(), SALT).decode()
OTHER_HASH = bcrypt.hashpw(b"other", SALT).decode()
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
    """Return the error that loading a file ends in."""
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    return caught.value


def context_of(config: WebConfig) -> ssl.SSLContext:
    """Return the TLS context there has to be."""
    assert config.ssl_context is not None
    return config.ssl_context


# What a file turns into


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "{}", "tls_server_config:\nbasic_auth_users: {}\nhttp_server_config:\n"]
)
def test_empty(write: Write, text: str) -> None:
    """An empty file means plain HTTP, no headers and no users, and everybody may read."""
    config = load(write(text))
    assert (config.ssl_context, dict(config.headers), dict(config.users)) == (None, {}, {})
    assert asyncio.run(config.authenticate(None))
    assert asyncio.run(config.authenticate("Basic nonsense"))


def test_blank_tls_is_no_tls(write: Write) -> None:
    """Blank TLS settings count as absent, as in the exporter-toolkit."""
    assert load(write('tls_server_config: {cert_file: "", key_file: }')).ssl_context is None


def test_paths_are_relative_to_the_file(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Certificates are found beside the file, wherever the process runs."""
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


@pytest.mark.parametrize("name", list(web_config._CIPHERS))
def test_every_cipher_exists(write: Write, name: str) -> None:
    """Each cipher we translate is one that OpenSSL knows under the translated name."""
    context = context_of(load(write(f"{TLS}  cipher_suites: [{name}]\n")))
    assert web_config._CIPHERS[name] in [cipher["name"] for cipher in context.get_ciphers()]


def test_only_tls13_ciphers(write: Write) -> None:
    """Naming TLS 1.3 suites alone is fine where TLS 1.2 is off: no implementation lets one choose those."""
    settings = "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n  min_version: TLS13\n"
    assert context_of(load(write(TLS + settings))).minimum_version == ssl.TLSVersion.TLSv1_3


def test_headers(write: Write) -> None:
    """Headers are kept as written, an unquoted number too, and blank ones are unset."""
    headers = "{X-XSS-Protection: 0, X-Frame-Options: deny, Content-Security-Policy: }"
    config = load(write(f"http_server_config:\n  http2: true\n  headers: {headers}\n"))
    assert dict(config.headers) == {"X-XSS-Protection": "0", "X-Frame-Options": "deny"}


def test_repr_hides_hashes(write: Write) -> None:
    """A logged configuration shows no hash."""
    config = load(write(f"basic_auth_users:\n  prometheus: {HASH}\n"))
    assert dict(config.users) == {"prometheus": HASH}
    assert repr(config) == "WebConfig(ssl_context=None, headers=mappingproxy({}))"


# What is refused

ROOT_REFUSALS = [
    ("a: [", "syntax", 1),
    ("a: b: c", "syntax", 1),
    ("--- {}\n--- {}\n", "syntax", 2),
    ("[" * 5000, "not-plain", 1),
    ("a: \x07", "syntax", 1),
    ("a: &x 1", "not-plain", 1),
    ("\na: *x", "not-plain", 2),
    ("a: !!python/object/apply:os.system [ls]", "not-plain", 1),
    ("a: !x 1", "not-plain", 1),
    ("[]", "type", 1),
    ("text", "type", 1),
    ("\n- &a [x]\n- *a", "not-plain", 2),
    ("#" * (1 << 20) + "#", "too-large", 1),
]

REFUSALS = [
    ("tls: {}", "tls", "unknown-key"),
    ("tls_server_config: {crt: x}", "tls_server_config.crt", "unknown-key"),
    ("http_server_config: {http3: true}", "http_server_config.http3", "unknown-key"),
    ("? [a]\n: 1", "?", "unknown-key"),
    ("rate_limit: {interval: 1s}", "rate_limit", "unsupported-key"),
    (f"{TLS}  client_allowed_sans: [a]", "tls_server_config.client_allowed_sans", "unsupported-key"),
    (f"{TLS}  curve_preferences: [X25519]", "tls_server_config.curve_preferences", "unsupported-key"),
    ("http_server_config:\nhttp_server_config:", "http_server_config", "duplicate-key"),
    ("tls_server_config: [1]", "tls_server_config", "type"),
    ("http_server_config: {http2: 7}", "http_server_config.http2", "type"),
    ("http_server_config: {http2: [true]}", "http_server_config.http2", "type"),
    ("basic_auth_users: [alice]", "basic_auth_users", "type"),
    ("basic_auth_users: {alice: [x]}", "basic_auth_users.alice", "type"),
    (f"{TLS}  cipher_suites: x", "tls_server_config.cipher_suites", "type"),
    ("tls_server_config: {cert_file: [a], key_file: key.pem}", "tls_server_config.cert_file", "type"),
    ("http_server_config: {headers: {Server: x}}", "http_server_config.headers.Server", "header-name"),
    (
        "http_server_config: {headers: {X-Frame-Options: allow}}",
        "http_server_config.headers.X-Frame-Options",
        "header-value",
    ),
    (
        'http_server_config: {headers: {Content-Security-Policy: "a\\r\\nSet-Cookie: b"}}',
        "http_server_config.headers.Content-Security-Policy",
        "header-value",
    ),
    ("tls_server_config: {cert_file: cert.pem}", "tls_server_config", "pem-missing"),
    ("tls_server_config: {key_file: key.pem}", "tls_server_config", "pem-missing"),
    (f"{TLS}  cert: x", "tls_server_config.cert_file", "pem-twice"),
    ("tls_server_config: {cert_file: no.pem, key_file: key.pem}", "tls_server_config.cert_file", "unreadable"),
    ("tls_server_config: {cert_file: ., key_file: key.pem}", "tls_server_config.cert_file", "unreadable"),
    ('tls_server_config: {cert_file: "\\0", key_file: key.pem}', "tls_server_config.cert_file", "unreadable"),
    (
        "tls_server_config: {cert_file: /dev/zero, key_file: key.pem}",
        "tls_server_config.cert_file",
        "too-large",
    ),
    ("tls_server_config: {cert_file: key.pem, key_file: key.pem}", "tls_server_config.cert_file", "pem-invalid"),
    ("tls_server_config: {cert_file: cert.pem, key: secret}", "tls_server_config.key", "pem-invalid"),
    ("tls_server_config: {cert_file: bad.pem, key_file: key.pem}", "tls_server_config.cert_file", "pem-invalid"),
    (
        "tls_server_config: {cert_file: cert.pem, key_file: locked.pem}",
        "tls_server_config.key_file",
        "key-encrypted",
    ),
    (
        "tls_server_config: {cert_file: cert.pem, key_file: other.pem}",
        "tls_server_config.cert_file",
        "key-mismatch",
    ),
    (
        "tls_server_config: {cert_file: cert.pem, key_file: rsa.pem}",
        "tls_server_config.cert_file",
        "key-mismatch",
    ),
    (f"{TLS}  min_version: TLS10", "tls_server_config.min_version", "tls-version"),
    (f"{TLS}  max_version: TLS11", "tls_server_config.max_version", "tls-version"),
    (f"{TLS}  min_version: TLS13\n  max_version: TLS12", "tls_server_config.min_version", "tls-range"),
    (f"{TLS}  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]", "tls_server_config.cipher_suites", "cipher"),
    (f"{TLS}  cipher_suites: [TLS_AES_128_GCM_SHA256]", "tls_server_config.cipher_suites", "cipher"),
    (f"{TLS}  client_auth_type: RequestClientCert", "tls_server_config.client_auth_type", "client-auth"),
    (f"{TLS}  client_auth_type: RequireAnyClientCert", "tls_server_config.client_auth_type", "client-auth"),
    (f"{TLS}  client_auth_type: require", "tls_server_config.client_auth_type", "client-auth"),
    (
        f"{TLS}  client_auth_type: RequireAndVerifyClientCert",
        "tls_server_config.client_auth_type",
        "client-ca-missing",
    ),
    (f"{TLS}  client_ca_file: ca.pem", "tls_server_config", "client-ca-unused"),
    (
        f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: bad.pem",
        "tls_server_config.client_ca_file",
        "pem-invalid",
    ),
    ("basic_auth_users: {alice: secret}", "basic_auth_users.alice", "hash"),
    ("basic_auth_users: {alice: }", "basic_auth_users.alice", "hash"),
    (f"basic_auth_users: {{alice: '{HASH[:-1]}'}}", "basic_auth_users.alice", "hash"),
    (f"basic_auth_users: {{alice: '{HASH[:28]}A{HASH[29:]}'}}", "basic_auth_users.alice", "hash"),
    (f"basic_auth_users: {{alice: '$2b$17{HASH[6:]}'}}", "basic_auth_users.alice", "hash-cost"),
    (f"basic_auth_users: {{'al:ice': '{HASH}'}}", "basic_auth_users.al", "user-name"),
]


@pytest.mark.parametrize(("text", "slug", "line"), ROOT_REFUSALS)
def test_refuses_the_whole_file(write: Write, text: str, slug: str, line: int) -> None:
    """What cannot be read as a plain mapping is refused with its line."""
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


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    """A file that is not there is refused by its name."""
    error = refusal(str(tmp_path / "no.yml"))
    assert error.slug == "web-config-unreadable"
    assert "No such file" in error.found


def test_refuses_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    """A file in Latin-1 is refused."""
    (tmp_path / "web.yml").write_bytes("basic_auth_users: {jürgen: x}".encode("latin-1"))
    assert refusal(str(tmp_path / "web.yml")).slug == "web-config-syntax"


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
    """Whatever is wrong around a secret, the error does not print it."""
    error = refusal(write(text))
    assert "SECRET" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


# Served for real


def test_served_over_tls(write: Write, tmp_path: Path) -> None:
    """A client that knows the CA and the password reads the metrics, one without either does not."""
    config = load(
        write(
            f"{TLS}http_server_config: {{headers: {{X-Content-Type-Options: nosniff}}}}\n"
            f"basic_auth_users: {{p: {OTHER_HASH}}}\n"
        )
    )
    with serving(rich_snapshot(), web_config=config) as served, requests.Session() as session:
        url = f"{served.url}/metrics"
        session.trust_env = False
        with pytest.raises(requests.exceptions.SSLError):
            session.get(url, timeout=10)
        session.verify = str(tmp_path / "ca.pem")
        assert session.get(url, timeout=10).status_code == 401
        answer = session.get(url, timeout=10, auth=("p", "other"))
        assert (answer.status_code, "locust_requests_total" in answer.text) == (200, True)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_served_to_verified_clients(write: Write, tmp_path: Path) -> None:
    """With inline PEMs and RequireAndVerifyClientCert, only clients of the CA are answered; no file is left."""
    settings = {
        "cert": CERT.decode(),
        "key": KEY.decode(),
        "client_ca": CA.cert_pem.bytes().decode(),
        "client_auth_type": "RequireAndVerifyClientCert",
        "max_version": "TLS12",  # in TLS 1.3 a client learns of its refusal only when it reads
    }
    config = load(write(yaml.safe_dump({"tls_server_config": settings})))
    pems = {}
    for name, authority in (("good", CA), ("stranger", trustme.CA())):
        client = authority.issue_cert("client@example.org")
        pems[name] = str(tmp_path / f"{name}.pem")
        client.private_key_and_cert_chain_pem.write_to_path(pems[name])
    with serving(rich_snapshot(), web_config=config) as served:
        url = f"{served.url}/metrics"

        def _get(cert: str | None) -> int:
            with requests.Session() as session:
                session.trust_env = False
                return session.get(url, timeout=10, cert=cert, verify=str(tmp_path / "ca.pem")).status_code

        assert _get(pems["good"]) == 200
        for cert in (pems["stranger"], None):
            with pytest.raises(requests.exceptions.ConnectionError):
                _get(cert)
