import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sweep.core.errors import DataError
from sweep.tasks.data.download import (
    FileContent,
    PublishedFile,
    combined_hash,
    download,
    find_local,
    read_verified,
)

CONTENT = b"some rows\n"
MD5 = "068301bd6f765cbecc5f8994e64e0e1a"


def assert_one_line(error: BaseException, *parts: str) -> None:
    assert "\n" not in str(error)
    for part in parts:
        assert part in str(error)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Address of a server that has CONTENT as `rows.csv`."""
    directory = tmp_path / "served"
    directory.mkdir()
    (directory / "rows.csv").write_bytes(CONTENT)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


class TestFindLocal:
    def test_first_directory_and_first_name_win(self, tmp_path: Path) -> None:
        for name in ("outer/train.csv", "outer/inner/part.csv"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        directories = [tmp_path / "outer" / "inner", tmp_path / "outer"]
        assert find_local(directories, ["train.csv", "part.csv"], "x") == directories[0] / "part.csv"
        (directories[0] / "train.csv").touch()
        assert find_local(directories, ["train.csv", "part.csv"], "x") == directories[0] / "train.csv"
        assert find_local(directories[1:], ["train.csv", "part.csv"], "x") == directories[1] / "train.csv"

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            find_local([tmp_path / "nowhere"], ["train.csv", "part.csv"], "news train rows")
        assert_one_line(caught.value, "news train rows", "train.csv or part.csv", "nowhere", "--data-dir")


class TestReadVerified:
    def test_the_published_file(self, tmp_path: Path) -> None:
        path = tmp_path / "rows.csv"
        path.write_bytes(CONTENT)
        published = PublishedFile("http://example.org/rows.csv", MD5)
        assert read_verified(path, published, False) == FileContent(path, CONTENT, MD5, True)
        assert read_verified(path, published, True).verified

    def test_another_file_is_refused_unless_allowed(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.csv"
        path.write_bytes(CONTENT + b"x")
        md5 = hashlib.md5(CONTENT + b"x").hexdigest()
        published = PublishedFile("http://example.org/rows.csv", MD5)
        with pytest.raises(DataError) as caught:
            read_verified(path, published, False)
        assert_one_line(caught.value, str(path), md5, MD5, "--allow-unverified-data")
        assert read_verified(path, published, True) == FileContent(path, CONTENT + b"x", md5, False)

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            read_verified(tmp_path, PublishedFile("http://example.org/rows.csv", MD5), True)
        assert_one_line(caught.value, str(tmp_path), "directory")


class TestDownload:
    def test_once(self, served: str, tmp_path: Path) -> None:
        file = PublishedFile(f"{served}/rows.csv", MD5)
        path = download(file, tmp_path / "a" / "b", "news")
        assert path == tmp_path / "a" / "b" / "rows.csv"
        assert path.read_bytes() == CONTENT
        (tmp_path / "served" / "rows.csv").unlink()
        assert download(file, tmp_path / "a" / "b", "news") == path

    def test_a_damaged_copy_is_downloaded_again(self, served: str, tmp_path: Path) -> None:
        file = PublishedFile(f"{served}/rows.csv", MD5)
        download(file, tmp_path, "news").write_bytes(b"half")
        assert download(file, tmp_path, "news").read_bytes() == CONTENT

    def test_other_content_than_published(self, served: str, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            download(PublishedFile(f"{served}/rows.csv", "0" * 32), tmp_path / "to", "news")
        assert_one_line(caught.value, "cannot download", "rows.csv", "0" * 32, MD5)
        assert not (tmp_path / "to" / "rows.csv").exists()

    def test_not_there(self, served: str, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            download(PublishedFile(f"{served}/missing.csv", MD5), tmp_path, "news")
        assert_one_line(caught.value, "404", "sweep prepare --task news", "--data-dir")

    def test_no_connection(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            download(PublishedFile("http://127.0.0.1:9/rows.csv", MD5), tmp_path, "news")
        assert_one_line(caught.value, "http://127.0.0.1:9/rows.csv", "refused", "sweep prepare --task news")

    def test_a_directory_that_cannot_be_made(self, served: str, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(DataError) as caught:
            download(PublishedFile(f"{served}/rows.csv", MD5), tmp_path / "file" / "to", "news")
        assert_one_line(caught.value, str(tmp_path / "file" / "to"))


def test_the_combined_hash_depends_on_content_and_use_and_not_on_order() -> None:
    first, second = (
        FileContent(Path(name), b"", md5, True) for name, md5 in (("a", "1" * 32), ("b", "2" * 32))
    )
    combined = combined_hash({"train": first, "test": second})
    assert combined == combined_hash({"test": second, "train": first})
    assert combined != combined_hash({"train": second, "test": first})
    # of the text "test 22..2\ntrain 11..1\n"
    assert combined == hashlib.sha256(f"test {'2' * 32}\ntrain {'1' * 32}\n".encode()).hexdigest()
