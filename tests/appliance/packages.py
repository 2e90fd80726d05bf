"""A small source of packages as apt reads it, signed by a key of its own."""

import hashlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path

SUITE = "any-version"


class Source:
    """A folder to be served by HTTP: `gpg.key`, and packages below `deb/debian`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._home = folder / "gnupg"
        self._home.mkdir(mode=0o700)
        self._gpg("--passphrase", "", "--quick-generate-key", "packages@example.com", "rsa2048")
        listed = self._gpg("--with-colons", "--list-keys")
        self.fingerprint = next(
            line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr")
        )
        (folder / "gpg.key").write_text(self._gpg("--armor", "--export"))

    def close(self) -> None:
        """End what gpg started for itself."""
        subprocess.run(["gpgconf", "--homedir", self._home, "--kill", "all"], check=True)

    def _gpg(self, *words: str, stdin: str = "") -> str:
        command = ["gpg", "--homedir", str(self._home), "--batch", "--quiet",
                   "--pinentry-mode", "loopback", *words]  # fmt: skip
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=True)
        return done.stdout

    def offer(self, package: Path, version: str) -> None:
        """Offer another version of a package, the same otherwise."""
        root = self.folder / "deb/debian"
        lists = root / f"dists/{SUITE}/main/binary-amd64"
        lists.mkdir(parents=True)
        made = root / f"pool/{package.name.partition('_')[0]}_{version}_amd64.deb"
        made.parent.mkdir()
        control = self._repack(package, made, version)
        data = made.read_bytes()
        about = {"Filename": made.relative_to(root), "Size": len(data),
                 "SHA256": hashlib.sha256(data).hexdigest()}  # fmt: skip
        entry = control.rstrip() + "".join(f"\n{name}: {value}" for name, value in about.items())
        index = f"{entry}\n".encode()
        (lists / "Packages").write_bytes(index)
        fields = {"Suite": SUITE, "Codename": SUITE, "Components": "main", "Architectures": "amd64",
                  "Date": f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S} UTC"}  # fmt: skip
        digest = hashlib.sha256(index).hexdigest()
        release = "".join(f"{name}: {value}\n" for name, value in fields.items())
        release += f"SHA256:\n {digest} {len(index)} main/binary-amd64/Packages\n"
        signed = self._gpg("--clearsign", stdin=release)
        (root / f"dists/{SUITE}/InRelease").write_text(signed)

    def _repack(self, package: Path, target: Path, version: str) -> str:
        """Write the package under another version; returns what it says of itself."""
        unpacked = self.folder / "unpacked"
        subprocess.run(["dpkg-deb", "--raw-extract", package, unpacked], check=True)
        file = unpacked / "DEBIAN/control"
        lines = [f"Version: {version}" if line.startswith("Version:") else line
                 for line in file.read_text().splitlines()]  # fmt: skip
        file.write_text("\n".join(lines) + "\n")
        pack = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", unpacked, target]
        subprocess.run(pack, check=True, stdout=subprocess.DEVNULL)
        return file.read_text()
