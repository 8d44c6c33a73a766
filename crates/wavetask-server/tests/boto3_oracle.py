"""Uploads and downloads with boto3 as the tidy3d client uses it. Argument: the server's address; key on stdin."""

import gzip
import io
import json
import sys
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

ADDRESS, KEY = sys.argv[1], sys.stdin.buffer.readline().decode().strip()
TRANSFER = TransferConfig()


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"simcloud-api-key": KEY, "content-type": "application/json"}
    request = urllib.request.Request(ADDRESS + path, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["data"]


def client(task, name, endpoint=ADDRESS, **changes):
    token = call("GET", f"/tidy3d/py/tasks/{task}/file?filename={name}")
    bucket, key = token["cloudpath"].removeprefix("s3://").split("/", 1)
    given = token["userCredentials"]
    options = {
        "aws_access_key_id": given["accessKeyId"],
        "aws_secret_access_key": given["secretAccessKey"],
        "aws_session_token": given["sessionToken"],
        "region_name": "us-gov-west-1",
        "endpoint_url": endpoint,
        "config": Config(retries={"max_attempts": 1}),
    }
    return boto3.client("s3", **{**options, **changes}), bucket, key


def create():
    folder = call("POST", "/tidy3d/projects", {"projectName": "boto3"})["projectId"]
    return call("POST", f"/tidy3d/projects/{folder}/tasks", {"taskName": "t", "taskType": "HEAT_CHARGE"})[
        "taskId"
    ]


def status_of(action):
    try:
        action()
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    return 200


small = gzip.compress(sys.stdin.buffer.read())
# Zeros after a gzip member are padding.
large = small + bytes(3 * TRANSFER.multipart_threshold)
assert len(large) > 2 * TRANSFER.multipart_threshold

for endpoint in (ADDRESS, ADDRESS + "/s3"):
    for content in (small, large):
        task = create()
        s3, bucket, key = client(task, "simulation.hdf5.gz", endpoint)
        s3.upload_fileobj(
            io.BytesIO(content),
            Bucket=bucket,
            Key=key,
            Config=TRANSFER,
            ExtraArgs={"ContentEncoding": "gzip"},
        )
        call("POST", f"/tidy3d/tasks/{task}/metadata", {})
        detail = call("GET", f"/tidy3d/tasks/{task}/detail")
        assert detail["metadataStatus"] == "processed", detail
        s3, bucket, key = client(task, "simulation.hdf5.gz", endpoint)
        length = s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
        copy = io.BytesIO()
        s3.download_fileobj(bucket, key, copy, Config=TRANSFER)
        assert len(copy.getvalue()) == length
        assert gzip.decompress(copy.getvalue())[:8] == b"\x89HDF\r\n\x1a\n"
        # The same in ranges.
        pieces = io.BytesIO()
        s3.download_fileobj(
            bucket, key, pieces, Config=TransferConfig(multipart_threshold=500, multipart_chunksize=500)
        )
        assert pieces.getvalue() == copy.getvalue()

task = create()
s3, bucket, key = client(task, "simulation.hdf5.gz")
upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 1000)
assert [part["Size"] for part in s3.list_parts(Bucket=bucket, Key=key, UploadId=upload)["Parts"]] == [1000]
s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
assert status_of(lambda: s3.list_parts(Bucket=bucket, Key=key, UploadId=upload)) == 404

wrong, _, _ = client(task, "simulation.hdf5.gz", aws_secret_access_key="wrong")
assert status_of(lambda: wrong.put_object(Bucket=bucket, Key=key, Body=b"x")) == 403
without, _, _ = client(task, "simulation.hdf5.gz", aws_session_token=None)
assert status_of(lambda: without.put_object(Bucket=bucket, Key=key, Body=b"x")) == 400
for name in ("../key", "simulation.hdf5.gz/../../key", "output/../simulation.hdf5.gz", "simulation.hdf5"):
    assert (
        status_of(lambda name=name: s3.put_object(Bucket=bucket, Key=f"{task}/{name}", Body=b"x")) == 403
    ), name
assert status_of(lambda: s3.list_buckets()) in (403, 404)
assert status_of(lambda: s3.list_objects_v2(Bucket=bucket)) in (403, 404)
assert status_of(lambda: s3.delete_object(Bucket=bucket, Key=key)) == 403
presigned = boto3.client(
    "s3", aws_access_key_id=s3._request_signer._credentials.access_key, region_name="us-east-1",
    aws_secret_access_key=s3._request_signer._credentials.secret_key, endpoint_url=ADDRESS,
    aws_session_token=s3._request_signer._credentials.token, config=Config(signature_version="s3v4"),
).generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": key})  # fmt: skip
try:
    urllib.request.urlopen(urllib.request.Request(presigned, data=b"x", method="PUT"), timeout=30)
    raise AssertionError("presigned addresses are not given out and not accepted")
except urllib.error.HTTPError as error:
    assert 400 <= error.code < 500, error.code
print("boto3 agrees")
