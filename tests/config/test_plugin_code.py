"""What counts as a change of a plug-in's code."""

import pytest

from sweep.config.plugin_code import fingerprint, local_sources

PLUGIN = '''"""A plug-in."""
import random
import helper
from package.inner import thing

TEXT = """a

b  # no comment
"""

def f():
    import late  # found, too
    return 0.01
'''


@pytest.fixture
def plugin(tmp_path):
    (tmp_path / "package").mkdir()
    for name, text in {
        "mine.py": PLUGIN,
        "helper.py": "import deeper\n",
        "deeper.py": "x = 1\n",
        "late.py": "x = 1\n",
        "package/__init__.py": "",
        "package/inner.py": "thing = 1\n",
        "unrelated.py": "x = 1\n",
        "random.py": "x = 1\n",
        "data.json": "{}",
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path / "mine.py"


def test_the_modules_next_to_it_that_it_imports(plugin):
    assert set(local_sources(plugin)) == {
        "mine.py", "helper.py", "deeper.py", "late.py", "package/__init__.py", "package/inner.py",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("file", "before", "after", "counts"),
    [
        ("mine.py", "0.01", "0.02", True),
        ("mine.py", "return 0.01", "return 0.01  # quick", False),
        ("mine.py", "  # found, too", "", False),
        ("mine.py", "    import late", "\n\n    import late", False),
        ("mine.py", "a\n\nb", "a\nb", True),
        ("mine.py", "b  # no comment", "b", True),
        ("mine.py", "def f():\n", "def f():\n  ", True),
        ("helper.py", "import deeper", "import deeper\nx = 2", True),
        ("deeper.py", "1", "2", True),
        ("late.py", "1", "2", True),
        ("package/inner.py", "1", "2", True),
        ("package/inner.py", "\n", " \n# a comment\n", False),
        ("unrelated.py", "1", "2", False),
        ("random.py", "1", "2", False),
        ("data.json", "{}", "[]", False),
        ("deeper.py", "x = 1", "this is not python", True),
    ],
)
def test_a_change(plugin, file, before, after, counts):
    was = fingerprint(plugin)
    path = plugin.parent / file
    path.write_text(path.read_text().replace(before, after))
    assert (fingerprint(plugin) != was) == counts


def test_name_and_place_do_not_count(plugin, tmp_path):
    was = fingerprint(plugin)
    plugin.parent.joinpath("mine.py").rename(tmp_path / "other.py")
    moved = tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert fingerprint(moved / "other.py") == was


def test_two_files_are_not_one(tmp_path):
    """Moving a line from one file to another changes something."""
    plugin, helper = tmp_path / "mine.py", tmp_path / "helper.py"
    plugin.write_text("import helper\nx = 1\n")
    helper.write_text("y = 1\n")
    was = fingerprint(plugin)
    plugin.write_text("import helper\n")
    helper.write_text("x = 1\ny = 1\n")
    assert fingerprint(plugin) != was


def test_a_comment_in_an_f_string_of_several_lines(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text('x = f"""a {1}\n# text\n"""\n')
    was = fingerprint(plugin)
    plugin.write_text('x = f"""a {1}\n\n"""\n')
    assert fingerprint(plugin) != was
