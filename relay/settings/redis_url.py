"""What may stand in REDIS_URL. No rule repeats a part of it: any part may be the password's."""

import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

# Options of a URL as redis-py names them, and what each may be.
_DATABASE = {"db": re.compile(r"[0-9]{1,5}")}
TLS_OPTIONS = {
    "ssl_ca_certs": re.compile(r".+"),
    "ssl_certfile": re.compile(r".+"),
    "ssl_keyfile": re.compile(r".+"),
    "ssl_cert_reqs": re.compile(r"none|required"),
    "ssl_check_hostname": re.compile(r"(?i:true|false|yes|no|1|0)"),
}
_ENCODE = "a URL; special characters of its password are percent-encoded"


def check(url: str) -> str:
    """The URL, if the relay can connect to what it names.

    Raises:
        ValueError: what it must be.
    """
    if not url.isprintable() or " " in url:
        raise ValueError(_ENCODE)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(_ENCODE) from None
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("redis://, rediss:// or unix:// with an address")
    if parts.fragment or "#" in url or "@" in parts.path + parts.query:
        raise ValueError(_ENCODE)
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise ValueError("unix:// with the path of a socket")
    else:
        _check_host(parts)
        if not re.fullmatch(r"/?[0-9]{0,5}", parts.path):
            raise ValueError("a URL whose path is the number of a database, such as /0")
    _check_options(parts)
    return url


def _check_host(parts: SplitResult) -> None:
    place = parts.netloc.rpartition("@")[2]
    if "," in place:
        raise ValueError("a URL with one host: the relay connects to one Redis, not to several")
    try:
        has_host, port = bool(parts.hostname), parts.port
    except ValueError:
        port = 0
        has_host = True
    if not has_host:
        raise ValueError("a URL with a host")
    if port == 0 or place.endswith(":"):
        raise ValueError("a URL whose port is a number from 1 to 65535 and whose password is"
                         " percent-encoded")  # fmt: skip
    if not re.fullmatch(r"[^\[\]:]+(:[0-9]+)?|\[[0-9a-fA-F:.%\w]+\](:[0-9]+)?", place):
        raise ValueError("a URL with a host; an IPv6 address stands in [brackets]")


def _check_options(parts: SplitResult) -> None:
    allowed = {**_DATABASE, **(TLS_OPTIONS if parts.scheme == "rediss" else {})}
    given: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in TLS_OPTIONS and name not in allowed:
            raise ValueError(f"rediss:// for the option {name}")
        if name not in allowed:
            named = f", not {name}" if re.fullmatch(r"[a-z_]{1,40}", name) else ""
            raise ValueError(f"a URL with no options but {', '.join(allowed)}{named}")
        if name in given:
            raise ValueError(f"a URL that gives {name} once")
        if not allowed[name].fullmatch(unquote(value)):
            raise ValueError(f"a URL with another value of {name}: {_VALUES.get(name, 'a file')}")
        given[name] = value
    if "ssl_keyfile" in given and "ssl_certfile" not in given:
        raise ValueError("a URL with ssl_certfile beside ssl_keyfile")


_VALUES = {
    "db": "the number of a database",
    "ssl_cert_reqs": "none or required",
    "ssl_check_hostname": "true or false",
}
