"""A verifier that is asked over HTTP: what may be asked, what is answered, what is refused."""
