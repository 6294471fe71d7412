"""acme2certifier behind HTTPS, for the tests: what it cannot be told by its own configuration is put in here.

Usage: ari_ca.py SETTINGS.json, with ACME_SRV_CONFIGFILE set. Writes records (JSON, one a line) to standard output.
"""

import base64
import http.client
import json
import socketserver
import ssl
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

with open(sys.argv[1], encoding="utf-8") as file:
    SETTINGS = json.load(file)

# Both read the configuration when they are imported.
from acme2certifier.acme_srv import helper  # noqa: E402
from acme2certifier.share import acme2certifier_wsgi as a2c  # noqa: E402


def say(message, **fields):
    """Writes a record."""
    print(json.dumps({"message": message, **fields}), flush=True)


def fetch(_logger, host, path, **options):
    """Fetches the answer to an HTTP-01 challenge, at our port instead of port 80."""
    connection = http.client.HTTPConnection("127.0.0.1", SETTINGS["http_port"], timeout=options.get("timeout", 10))
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.read().decode(), answer.status, None
    except OSError as error:
        return None, 500, str(error)
    finally:
        connection.close()


helper.fqdn_resolve = lambda *_args, **_options: (["127.0.0.1"], False, None)
helper.url_get_dns_pinned = fetch

own_renewal_info = a2c.Renewalinfo.get


def renewal_info(self, url):
    """Answers with the window of the moment, which stands in a file."""
    answer = own_renewal_info(self, url)
    with open(SETTINGS["window"], encoding="utf-8") as file:
        window = json.load(file)
    say("renewal info", certificate=url.rsplit("/", 1)[-1], status=500 if window["failing"] else answer["code"])
    if window["failing"]:
        problem = {"type": "urn:ietf:params:acme:error:serverInternal", "status": 500, "detail": "as the test wants"}
        return {"code": 500, "data": problem}
    if answer["code"] != 200:
        return answer
    if window["start"] is not None:
        suggested = {side: helper.uts_to_date_utc(window[side]) for side in ("start", "end")}
        answer["data"]["suggestedWindow"] = suggested
    answer["header"] = {"Retry-After": str(window["retry_after"])}
    return answer


a2c.Renewalinfo.get = renewal_info

own_new_order = a2c.Order.new


def new_order(self, content):
    """Says what orders come in, and repeats what they replace, as RFC 9773 demands and acme2certifier does not."""
    answer = own_new_order(self, content)
    if answer["code"] == 201:
        payload = json.loads(content)["payload"]
        asked = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        replaces = asked.get("replaces")
        say("new order", identifiers=[each["value"] for each in asked["identifiers"]], replaces=replaces)
        if replaces and SETTINGS["repeats_replaces"]:
            answer["data"]["replaces"] = replaces
    return answer


a2c.Order.new = new_order


class Handler(WSGIRequestHandler):
    """One connection."""

    def get_environ(self):
        return {**super().get_environ(), "HTTPS": "on"}

    def address_string(self):
        return self.client_address[0]


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """One thread for each connection, in which the TLS handshake happens too."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, tls):
        super().__init__(address, Handler)
        self.tls = tls

    def server_bind(self):
        # Without the look for our own name in DNS.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address
        self.setup_environ()

    def get_request(self):
        connection, address = super().get_request()
        connection.settimeout(60)
        return self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address


def main():
    """Serves until somebody ends it."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(SETTINGS["chain"], SETTINGS["key"])
    server = Server(("127.0.0.1", SETTINGS["port"]), tls)
    server.set_app(a2c.application)
    say("ready", port=SETTINGS["port"])
    server.serve_forever()


main()
