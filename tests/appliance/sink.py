"""A webhook's receiver on the hub: appends each body to a file, a line each."""

import http.server
import sys
from pathlib import Path


def main() -> None:
    address, port, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with file.open("ab") as taken:
                taken.write(body + b"\n")
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer((address, port), Handler)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
