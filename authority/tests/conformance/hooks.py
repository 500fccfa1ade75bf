"""Signs the requests that schemathesis makes, as docs/formats.md says ("HTTP").

    python hooks.py KEY     makes a request key in the file KEY and prints its public half

As hooks of schemathesis it reads the file that SIGNED_AS names: who signs, with which key, for which authority and at what
time. Without that variable requests stay unsigned.
"""

import base64
import hashlib
import json
import os
import secrets
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from requests.auth import AuthBase


class Signed(AuthBase):
    """Signs each request when it is as it will be sent."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.who = json.load(file)
        with open(self.who["key"], encoding="utf-8") as file:
            self.key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(file.read()))

    def __call__(self, request):
        body = request.body or b""
        if isinstance(body, str):
            body = body.encode()
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        lines = {
            "@method": request.method,
            "@target-uri": self.who["url"] + request.path_url,
            "content-digest": f"sha-256=:{digest}:",
            "ockam-authority": self.who["authority"],
        }
        if request.method in ("POST", "DELETE"):
            lines["idempotency-key"] = f'"{secrets.token_hex(16)}"'
            request.headers["idempotency-key"] = lines["idempotency-key"]
        created = self.who["created"]
        nonce = base64.b64encode(secrets.token_bytes(16)).decode()
        names = " ".join(f'"{name}"' for name in lines)
        parameters = (
            f'({names});created={created};expires={created + 60};nonce="{nonce}";'
            f'keyid="{self.who["keyid"]}";alg="ed25519";tag="ockam-kms-v1"'
        )
        base = "".join(f'"{name}": {value}\n' for name, value in lines.items())
        base += f'"@signature-params": {parameters}'
        signature = base64.b64encode(self.key.sign(base.encode())).decode()
        request.headers["content-digest"] = lines["content-digest"]
        request.headers["ockam-authority"] = lines["ockam-authority"]
        request.headers["ockam-identity"] = self.who["identity"]
        request.headers["signature-input"] = f"sig={parameters}"
        request.headers["signature"] = f"sig=:{signature}:"
        return request


def make_key(path):
    key = Ed25519PrivateKey.generate()
    with open(path, "w", encoding="utf-8") as file:
        file.write(key.private_bytes_raw().hex())
    print(key.public_key().public_bytes_raw().hex())


if __name__ == "__main__":
    make_key(sys.argv[1])
elif "SIGNED_AS" in os.environ:
    import schemathesis

    signed = Signed(os.environ["SIGNED_AS"])

    @schemathesis.hook
    def before_load_schema(context, raw_schema):
        # Every request is signed below schemathesis, and has an idempotency key of its own there if it changes something.
        # What happens without, or with a wrong one, is for unsigned runs and for lost.rs.
        del raw_schema["components"]["securitySchemes"]
        for item in raw_schema["paths"].values():
            for operation in item.values():
                operation.pop("security", None)
                others = [one for one in operation.get("parameters", []) if one["in"] != "header"]
                operation["parameters"] = others

    @schemathesis.hook
    def before_call(context, case, kwargs):
        kwargs["auth"] = signed
