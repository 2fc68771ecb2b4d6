"""The page and the reference: served from here alone, with nothing fetched from elsewhere."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from voxanchor.service.app import PAGE

FILES = sorted(path.name for path in PAGE.iterdir())


def test_the_page_may_load_from_here_alone(client: TestClient) -> None:
    for path in ("/", "/docs", *(f"/page/{name}" for name in FILES)):
        answer = client.get(path)
        assert answer.status_code == 200, path
        policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'self'"
        assert policy["media-src"] == "'self' blob:"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "microphone=(self)" in answer.headers["Permissions-Policy"]
        urls = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"']*", answer.text))
        assert urls <= {"http://www.w3.org/2000/svg"}, path  # a name, which is not fetched
        assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=|eval\(|innerHTML", answer.text), path


def test_answers_with_people_in_them_are_not_cached(client: TestClient) -> None:
    assert client.get("/v1/people").headers["Cache-Control"] == "no-store"


def test_every_file_of_the_page_is_used(client: TestClient) -> None:
    text = client.get("/").text + "".join((PAGE / name).read_text(encoding="utf-8") for name in FILES)
    for name in FILES:
        assert name == "index.html" or re.search(rf"[/\"]{re.escape(name)}\"", text), name


def test_every_field_has_a_label(client: TestClient) -> None:
    text = client.get("/").text
    for tag, attributes in re.findall(r"<(input|select)([^>]*)>", text):
        (name,) = re.findall(r'id="([^"]+)"', attributes)
        assert f'for="{name}"' in text, (tag, name)


@pytest.mark.parametrize("path", ["/page/../app.py", "/page/%2e%2e/app.py", "/page/none.js"])
def test_nothing_beside_the_page_is_served(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "error" in answer.json()


def test_the_reference_lists_every_route_and_answer(client: TestClient) -> None:
    text = client.get("/docs").text
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in text
    links = set(re.findall(r'href="#([^"]+)"', text))
    assert links <= set(re.findall(r'id="([^"]+)"', text))
    assert "Verification" in links


def test_the_page_lies_in_the_package() -> None:
    assert Path(__file__).parents[2] / "src" / "voxanchor" / "service" / "page" == PAGE
    assert "app.js" in FILES
