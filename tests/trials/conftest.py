"""A bucket on loopback, for the store and for the cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")  # servers of one process share their buckets
def bucket() -> Iterator[dict[str, str]]:
    """The environment of a user whose bucket is `bucket`, at a server of this machine."""
    s3fs, moto_server = pytest.importorskip("s3fs"), pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint, key, secret = f"http://{host}:{port}", "somebody", "secret"
    s3fs.S3FileSystem(endpoint_url=endpoint, key=key, secret=secret).mkdir("bucket")
    yield {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server.stop()
