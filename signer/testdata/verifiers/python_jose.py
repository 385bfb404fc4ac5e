"""Verifies tokens with python-jose; see README.md."""
import base64
import json
import sys

from jose import jwt

with open(sys.argv[1], "rb") as f:
    secret = f.read()
for line in sys.stdin:
    token = base64.b64decode(line).decode("latin-1")
    try:
        claims = jwt.decode(token, secret, algorithms=["HS256"])
        # A lone surrogate cannot be encoded: whoever stores such a name fails then.
        text = json.dumps(claims, ensure_ascii=False).encode("utf-8")
        print("accept", base64.b64encode(text).decode())
    except Exception as e:  # python-jose lets some of the base64 and JSON errors through
        print("reject", type(e).__name__, str(e).replace("\n", " "))
