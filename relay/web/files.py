"""What a page hands over as a file."""

from quart import Response


def download(text: str, kind: str, name: str) -> Response:
    """A text that the browser saves.

    Args:
        kind: its media type; the characters are UTF-8.
        name: the file's.
    """
    headers = {
        "content-type": f"{kind}; charset=utf-8",
        "content-disposition": f'attachment; filename="{name}"',
    }
    return Response(text, 200, headers)
