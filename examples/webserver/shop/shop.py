"""The shop: answers what its database says of it."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2


class Shop(BaseHTTPRequestHandler):
    """One page."""

    def do_GET(self) -> None:
        """Who we are to the database."""
        with psycopg2.connect("dbname=shop") as database, database.cursor() as cursor:
            cursor.execute("SELECT current_database(), current_user")
            name, user = cursor.fetchone()
        body = json.dumps({"database": name, "user": user}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Shop).serve_forever()
