"""Holds real answers against the schemas of the server's OpenAPI document, on stdin:
{"document": …, "answers": [{"method": …, "path": …, "status": …, "body": …}], "requests": [{"schema": …, "body": …}]}.
"""

import json
import sys

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012


def fits(path, template):
    parts, wanted = path.split("/"), template.split("/")
    return len(parts) == len(wanted) and all(
        w.startswith("{") or w == p for p, w in zip(parts, wanted, strict=True)
    )


def operation(document, method, path):
    """The operation that answers there; one without parameters goes before one with."""
    found = [t for t in document["paths"] if fits(path, t) and method.lower() in document["paths"][t]]
    assert found, f"{method} {path} is not described"
    return document["paths"][min(found, key=lambda t: t.count("{"))][method.lower()]


def main():
    given = json.load(sys.stdin)
    document = given["document"]
    resource = Resource.from_contents(document, default_specification=DRAFT202012)
    registry = Registry().with_resource("urn:api", resource)

    def check(schema, body, what):
        # References of an OpenAPI document are relative to the whole.
        schema = json.loads(json.dumps(schema).replace('"#/', '"urn:api#/'))
        validator = Draft202012Validator(schema, registry=registry)
        faults = [f"{what}: {list(e.absolute_path)}: {e.message[:300]}" for e in validator.iter_errors(body)]
        return faults

    faults, seen = [], set()
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for answer in given["answers"]:
        described = operation(document, answer["method"], answer["path"])
        seen.add(described["operationId"])
        responses = described["responses"]
        response = responses["200"] if answer["status"] == 200 else responses["default"]
        content = next(iter(response["content"].values()))
        if "schema" in content:
            faults += check(
                content["schema"], answer["body"], f"{answer['method']} {answer['path']} {answer['status']}"
            )
    for request in given["requests"]:
        faults += check(
            {"$ref": f"#/components/schemas/{request['schema']}"}, request["body"], request["schema"]
        )
    # A schema that lets everything through would agree with anything.
    for name in ("TaskSummary", "SubmitAnswer", "EventPage", "ApiError", "MemberAnswer"):
        assert check({"$ref": f"#/components/schemas/{name}"}, {"nonsense": 1}, name), (
            f"{name} takes anything"
        )
    every = {o["operationId"] for item in document["paths"].values() for o in item.values()}
    faults += [f"never asked: {name}" for name in sorted(every - seen)]
    print("\n".join(faults) or "answers and schemas agree")


main()
