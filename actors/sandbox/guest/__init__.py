"""What runs inside a sandbox; copied into the image and started as `python -m stepmill_guest`.

Invariant: standard library only, relative imports only, nothing of the host is assumed. `frames`
and `facts` are also imported by the host: they are the language both sides speak.
"""
