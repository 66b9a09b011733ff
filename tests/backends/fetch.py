"""Fetches the real servers of the tests into `.backends`, without installing them.

Rules:

- The system does not change: apt works in a folder of its own, and packages are unpacked, not installed.
- The mirror is that of this machine's apt sources; the Debian archive keyring checks every package.
- Packages are unpacked into a cache outside the clone: a second clone links to it and downloads nothing.
- The OpenTelemetry Collector is built from `otelcol.yaml` with the collector's own builder; its modules come
  from the sources of Go's own environment.
"""

import argparse
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APT = Path("/etc/apt")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MANIFEST = Path(__file__).with_name("otelcol.yaml")
BUILD_TIMEOUT_S = 45 * 60
SUITES = ("forky", "trixie")
DEBIAN_SUITES = {"bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"}

# Private folders only; the machine's proxy and login settings are kept, its hooks after an update are not.
APT_CONF = """\
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
Dir::State "{folder}/state";
Dir::State::Lists "{folder}/state/lists";
Dir::State::status "{folder}/state/status";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
APT::Default-Release "";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
"""

TEMPLATES = Path("prometheus/alertmanager/default.tmpl")
# Debian's Alertmanager reads its templates from /usr/share. Without the installed package, its own `usr/share` is
# mounted over that, in a mount namespace of this process. `exec` keeps the process id.
WRAPPER = """\
#!/bin/sh
# Made by make backends: starts an unpacked Alertmanager, which looks for its templates in /usr/share.
binary={binary}
share={share}
[ -e /usr/share/{templates} ] && exec "$binary" "$@"
[ "$(id -u)" = 0 ] && new=-m || new=-rm
lay='mount -t overlay overlay -o "lowerdir=$1:/usr/share" /usr/share && shift && exec "$@"'
if ! unshare "$new" -- sh -c "$lay" sh "$share" true; then
    echo "alertmanager needs its templates in /usr/share, and this machine allows no mount namespace to lay them" \\
        "there: install the Debian package prometheus-alertmanager" >&2
    exit 1
fi
exec unshare "$new" -- sh -c "$lay" sh "$share" "$binary" "$@"
"""


class FetchError(Exception):
    """A server cannot be fetched; the message has the reason and the remedy in one sentence."""


@dataclass(frozen=True)
class Tool:
    """One server, its source and its binaries.

    `binaries` maps the name under `.backends/bin` to the name in the package's `usr/bin`; the first one is the server
    itself. `minimum` is the lowest version accepted from PATH, `()` for any. `key` is the part of the cache folder's
    name that differs for other sources.
    """

    name: str
    source: str
    package: str
    binaries: Mapping[str, str]
    minimum: tuple[int, ...] = ()
    key: str = ""

    @property
    def folder(self) -> str:
        """Name of its folder in the cache."""
        return f"{self.name}-{self.key}" if self.key else self.name


def _collector(manifest: Path) -> Tool:
    """Return the collector of a manifest; another manifest is another build."""
    text = manifest.read_bytes()
    match = re.search(rb"^  version: (\d+\.\d+\.\d+)$", text, re.MULTILINE)
    assert match, f"{manifest} has no version"
    number = match[1].decode()
    return Tool(
        "otelcol",
        "go",
        f"go.opentelemetry.io/collector/cmd/builder@v{number}",
        {"otelcol": "otelcol"},
        tuple(int(part) for part in number.split(".")),
        f"{number}-{hashlib.sha256(text).hexdigest()[:12]}",
    )


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("prometheus", "debian", "prometheus", {"prometheus": "prometheus"}, (3, 0)),
        Tool("promtool", "debian", "promtool", {"promtool": "promtool"}, (3, 0)),
        Tool(
            "alertmanager",
            "debian",
            "prometheus-alertmanager",
            {"alertmanager": "prometheus-alertmanager", "amtool": "amtool"},
            (0, 27),
        ),
        Tool("victoria-metrics", "debian", "victoria-metrics", {"victoria-metrics": "victoria-metrics"}),
        _collector(MANIFEST),
    )
}
DEFAULT = ("prometheus", "promtool", "alertmanager", "victoria-metrics", "otelcol")


def backends_folder() -> Path:
    """Return the folder with `bin`: LOCUST_OTEL_BACKENDS, by default `.backends` of this clone."""
    return Path(os.environ.get("LOCUST_OTEL_BACKENDS") or ROOT / ".backends").expanduser().absolute()


def cache_folder() -> Path:
    """Return the cache folder of all clones."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base.absolute() / "locust-otel" / "backends"


def version(binary: Path) -> tuple[int, ...] | None:
    """Return the version of a binary: `()` if it prints no version, None if it does not run."""
    try:
        run = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if run.returncode:
        return None
    match = re.search(r"\b(\d+(?:\.\d+)+)", run.stdout + run.stderr)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def on_path(tool: Tool) -> dict[str, Path]:
    """Return the tool's binaries on PATH; empty unless all are there and recent enough."""
    paths: dict[str, Path] = {}
    for name, packaged in tool.binaries.items():
        where = shutil.which(name) or shutil.which(packaged)
        running = version(Path(where)) if where else None
        if where is None or running is None or running < tool.minimum:
            return {}
        paths[name] = Path(where).resolve()
    return paths


def cached(tool: Tool, cache: Path) -> dict[str, Path]:
    """Return the tool's binaries in the cache; empty unless all of them are there and run."""
    paths = {name: cache / tool.folder / "usr/bin" / packaged for name, packaged in tool.binaries.items()}
    return paths if all(version(path) is not None for path in paths.values()) else {}


# Debian


def mirrors(one_line: Sequence[str], deb822: Sequence[str]) -> list[str]:
    """Return the Debian archives in texts of `sources.list` and `*.sources` files, the likeliest first."""
    found: dict[str, bool] = {}
    for text in one_line:
        for line in text.splitlines():
            entry = re.match(r"\s*deb\s+(?:\[(?P<opts>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<rest>[^#]+)", line)
            if entry:
                suite, *components = entry["rest"].split()
                _note_mirror(found, [entry["uri"]], [suite], components, entry["opts"] or "")
    for text in deb822:
        for stanza in re.split(r"\n[ \t]*\n", text):
            kept = "\n".join(line for line in stanza.splitlines() if not line.startswith("#"))
            # The lines that begin with a blank continue the value.
            pairs = re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", kept, re.MULTILINE)
            field = {key.lower(): value.strip() for key, value in pairs}
            if (
                field.get("enabled", "yes").lower() in {"no", "false", "0"}
                or "deb" not in field.get("types", "").split()
            ):
                continue
            uris, suites = field.get("uris", "").split(), field.get("suites", "").split()
            _note_mirror(found, uris, suites, field.get("components", "").split(), field.get("signed-by", ""))
    return sorted(found, key=lambda uri: not found[uri])  # stable: the order of the files within each kind


def _note_mirror(
    found: dict[str, bool],
    uris: Sequence[str],
    suites: Sequence[str],
    components: Sequence[str],
    signed_by: str,
) -> None:
    # Other archives use Debian's suite names too: the likeliest are first, and the keyring decides.
    if "main" not in components or not DEBIAN_SUITES.intersection(suites):
        return
    for uri in uris:
        last = uri.rstrip("/").rpartition("/")[2]
        if "security" not in last and not uri.startswith("cdrom:"):
            found.setdefault(uri, "debian-archive" in signed_by or last.startswith("debian"))


def _machine_mirrors() -> list[str]:
    parts = APT / "sources.list.d"
    one_line = [APT / "sources.list", *sorted(parts.glob("*.list"))]
    texts = [path.read_text(errors="replace") for path in one_line if path.is_file()]
    return mirrors(texts, [path.read_text(errors="replace") for path in sorted(parts.glob("*.sources"))])


def _run(command: Sequence[str | Path], cwd: Path) -> None:
    """Run a command silently.

    Raises:
        FetchError: It failed; the message has its line about the error.
    """
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
    except subprocess.TimeoutExpired:
        raise FetchError(f"{command[0]} did not end within 10 minutes") from None
    if run.returncode:
        lines = [line.strip() for line in (run.stderr + run.stdout).splitlines() if line.strip()]
        wrong = next((line for line in lines if line.startswith("E:")), lines[-1] if lines else "no message")
        raise FetchError(f"{command[0]} failed: {wrong}")


def from_debian(tools: Sequence[Tool], cache: Path) -> None:
    """Unpack the tools' Debian packages into the cache, each into a folder of its own.

    Raises:
        FetchError: No suite of no mirror has a package that runs here.
    """
    for command in ("apt-get", "dpkg-deb"):
        if not shutil.which(command):
            raise FetchError(f"{command} is not on this machine")
    if not KEYRING.is_file():
        raise FetchError(f"{KEYRING} is missing (package debian-archive-keyring)")
    archives = _machine_mirrors()
    if not archives:
        raise FetchError(f"the apt sources under {APT} name no Debian archive")
    left, problem = list(tools), ""
    for suite in SUITES:
        for archive in archives:
            if left and suite != SUITES[0]:
                print(f"notice: falling back to Debian {suite}, whose servers are older ({problem})", flush=True)
            left, problem = _from_suite(left, cache, archive, suite, problem)
    if left:
        raise FetchError(problem)


def _from_suite(tools: list[Tool], cache: Path, archive: str, suite: str, problem: str) -> tuple[list[Tool], str]:
    """Fetch the tools that one suite of one archive has; return the missing tools and the last problem."""
    if not tools:
        return [], problem
    left: list[Tool] = []
    with tempfile.TemporaryDirectory(prefix="apt-", dir=cache) as name:
        folder = Path(name)
        for part in ("state/lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        (folder / "state/status").touch()
        (folder / "apt.conf").write_text(APT_CONF.format(folder=folder))
        (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {archive} {suite} main\n")
        apt = ("apt-get", "-q", "-c", folder / "apt.conf")
        try:
            _run([*apt, "update"], folder)
        except FetchError as error:
            return tools, f"{suite}: {error}"
        for tool in tools:
            try:
                _unpack(tool, cache, apt, folder)
            except FetchError as error:
                problem = f"{suite}: {error}"
                left.append(tool)
    return left, problem


def _unpack(tool: Tool, cache: Path, apt: Sequence[str | Path], folder: Path) -> None:
    print(f"fetching {tool.name} ...", flush=True)
    new = folder / tool.folder
    new.mkdir()
    _run([*apt, "download", tool.package], new)
    for package in new.glob("*.deb"):
        _run(["dpkg-deb", "-x", package, new], new)
        package.unlink()
    _keep(tool, folder, cache)


def _keep(tool: Tool, folder: Path, cache: Path) -> None:
    """Move a complete tool into the cache."""
    if not cached(tool, folder):
        raise FetchError(f"{tool.name} is there but does not run on this machine")
    shutil.rmtree(cache / tool.folder, ignore_errors=True)
    (folder / tool.folder).rename(cache / tool.folder)


# Go


def _go_flags() -> str | None:
    """Return the flags of the machine's Go (`GOFLAGS`), None if there is no Go that can build the collector."""
    if not shutil.which("go"):
        return None
    # In the folder "/": in a module, the answers would be those for the module.
    command = ["go", "env", "GOVERSION", "GOTOOLCHAIN", "GOFLAGS"]
    run = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    number, toolchain, flags = [*run.stdout.splitlines(), "", "", ""][:3]
    match = re.match(r"go(\d+)\.(\d+)", number)
    # From 1.21 on Go downloads the version that a module requires, unless GOTOOLCHAIN is "local".
    least = 25 if toolchain == "local" else 21
    return flags if match and (int(match[1]), int(match[2])) >= (1, least) else None


def from_go(tools: Sequence[Tool], cache: Path) -> None:
    """Build the collector into the cache.

    Raises:
        FetchError: There is no Go, or the build fails.
    """
    flags = _go_flags()
    if flags is None:
        raise FetchError("to build the OpenTelemetry Collector, install Go 1.25 or newer")
    for tool in tools:
        with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as name:
            folder = Path(name)
            _build(tool, folder, flags)
            binaries = folder / tool.folder / "usr/bin"
            binaries.mkdir(parents=True)
            for binary in tool.binaries.values():
                (folder / "build" / binary).rename(binaries / binary)
            _keep(tool, folder, cache)


def _build(tool: Tool, folder: Path, flags: str) -> None:
    """Run the collector's builder, which leaves the binary in `build`."""
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        # -mod=mod: the builder writes a go.mod without its sums. -e: some modules that only the tests of an exporter
        # need cannot be downloaded, and the build does not need them.
        "GOFLAGS": f"{flags} -mod=mod -e".strip(),
    }
    print(f"building {tool.name} {tool.key} with Go, up to 10 minutes the first time ...", flush=True)
    log = folder / "log"
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["go", "run", tool.package, "--config", MANIFEST],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    taken = time.monotonic() - began
                    print(f"building {tool.name}: {taken:.0f} s, {_last(log)}", flush=True)
                    if taken > BUILD_TIMEOUT_S:
                        raise FetchError(f"the build of {tool.name} did not end in {taken:.0f} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # the process group: go and its compilers
                process.wait()
    if process.returncode:
        raise FetchError(f"the build of {tool.name} failed: {_last(log)}")


def _last(log: Path) -> str:
    """Return the builder's last informative line, without its time stamp."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    informative = [line for line in lines if line and not line.startswith(("exit status", "server response:"))]
    return informative[-1].split("\t", 3)[-1] if informative else "no output yet"


# A further kind of source is one more function here: it puts `FOLDER/usr/bin/...` of each tool into the cache.
SOURCES: Mapping[str, Callable[[Sequence[Tool], Path], None]] = {"debian": from_debian, "go": from_go}


@contextmanager
def _locked(cache: Path, source: str) -> Iterator[None]:
    """Let one process at a time fetch from a source; clones may fetch at the same time."""
    with (cache / f".lock-{source}").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that fetches from {source} ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _link(binaries: Mapping[str, Path]) -> None:
    """Put binaries into `.backends/bin`: as links, or as a script for a binary that needs one to start."""
    folder = backends_folder() / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in binaries.items():
        if target.parent == folder.resolve():  # PATH contains this folder
            continue
        fresh = folder / f".{name}.{os.getpid()}"
        share = target.parents[1] / "share"
        if name == "alertmanager" and share != Path("/usr/share") and (share / TEMPLATES).is_file():
            binary, templates = shlex.quote(str(target)), TEMPLATES
            fresh.write_text(WRAPPER.format(binary=binary, share=shlex.quote(str(share)), templates=templates))
            fresh.chmod(0o755)
        else:
            fresh.symlink_to(target)
        fresh.replace(folder / name)


def fetch(names: Sequence[str]) -> None:
    """Put every named tool into `.backends/bin`.

    Raises:
        FetchError: A tool cannot be fetched.
    """
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    for source, get in SOURCES.items():
        tools = [TOOLS[name] for name in names if TOOLS[name].source == source]
        if not tools:
            continue
        with _locked(cache, source):
            have = {tool.name: cached(tool, cache) or on_path(tool) for tool in tools}
            missing = [tool for tool in tools if not have[tool.name]]
            if missing:
                get(missing, cache)
        for tool in tools:
            binaries = have[tool.name] or cached(tool, cache)
            _link(binaries)
            number = ".".join(map(str, version(next(iter(binaries.values()))) or ())) or "of no stated version"
            origin = (
                "fetched" if not have[tool.name] else "cached" if cache in binaries[tool.name].parents else "from PATH"
            )
            print(f"{tool.name} {number}: {origin}", flush=True)


def _default() -> list[str]:
    """Return the tools to fetch by default: all, but no collector on a developer's machine without Go."""
    collector = TOOLS["otelcol"]
    if os.environ.get("CI") or cached(collector, cache_folder()) or on_path(collector) or _go_flags() is not None:
        return list(DEFAULT)
    print("notice: no OpenTelemetry Collector, its tests will be skipped: to build it, install Go 1.25 or newer")
    return [name for name in DEFAULT if name != collector.name]


def _describe(name: str) -> str:
    minimum = ".".join(map(str, TOOLS[name].minimum))
    return f"{name} >= {minimum}" if minimum else name


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in TOOLS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'}: choose from {', '.join(TOOLS)}")
    return names


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch the tools of the command line; return the exit code."""
    parser = argparse.ArgumentParser(description="Fetch the real servers the tests run against into .backends.")
    parser.add_argument("--only", type=_names, metavar="NAME,...", help=", ".join(TOOLS))
    names: list[str] = parser.parse_args(argv).only or _default()
    try:
        fetch(names)
    except (FetchError, OSError) as error:
        wanted = ", ".join(map(_describe, names))
        print(f"Cannot fetch the test servers: {error}; solve that, or put {wanted} on PATH.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
