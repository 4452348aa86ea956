"""What belongs to a plug-in's code."""

import hashlib
import json

from sweep.core.plugin_code import PluginCode, local_modules


def write(directory, files):
    for name, text in files.items():
        path = directory / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory / "mine.py"


def test_modules_next_to_a_plugin_and_what_they_import(tmp_path):
    files = {
        "mine": "import torch, helper\nfrom pack import part\n\ndef f():\n    from pack.deep.er import x\n",
        "helper": "import mine\nimport other.thing\nimport json\n",
        "json": "",
        "pack/__init__": "",
        "pack/part": "from . import sibling\nfrom .deep import er\nfrom .. import nowhere\n",
        "pack/sibling": "",
        "pack/deep/__init__": "",
        "pack/deep/er": "import helper\n",
        "pack/unused": "",
        "other/thing": "x = (",
        "unrelated": "",
    }
    plugin = write(tmp_path, files)
    names = [path.relative_to(tmp_path).as_posix() for path in local_modules(plugin)]
    assert names == [
        "helper.py", "json.py", "other/thing.py", "pack/__init__.py", "pack/deep/__init__.py", "pack/deep/er.py",
        "pack/part.py", "pack/sibling.py",
    ]  # fmt: skip


def test_the_digest_of_a_file_alone_is_its_hash_and_of_several_that_of_all(tmp_path):
    plugin = write(tmp_path, {"mine": "import math\n"})
    alone = PluginCode.of(plugin)
    assert alone.digest == alone.file == hashlib.sha256(b"import math\n").hexdigest()
    write(tmp_path, {"mine": "import helper\n", "helper": "a = 1\n"})
    both = PluginCode.of(plugin)
    hashes = [hashlib.sha256(text).hexdigest() for text in (b"import helper\n", b"a = 1\n")]
    whole = json.dumps([["mine.py", hashes[0]], ["helper.py", hashes[1]]])
    assert (both.file, both.digest) == (hashes[0], hashlib.sha256(whole.encode()).hexdigest())
    write(tmp_path, {"helper": "a = 2\n", "unrelated": "b = 1\n"})
    assert PluginCode.of(plugin).digest != both.digest
    assert PluginCode.of(plugin).file == both.file
